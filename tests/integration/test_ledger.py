"""The ledger of a service at work: what it writes, and what it goes on with after a restart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from demo.install import Images
from hub_service import timestamps
from hub_service.hub.groups import Group
from hub_service.kinds import JUPYTER_KERNELS, JUPYTER_LEDGERS, PODS, Object, name_of, status_of
from hub_service.kube import Cluster
from hub_service.ledger import report
from hub_service.ledger.books import Amounts
from hub_service.reconcile.ledger_days import LedgerDays
from tests.integration.support import DEADLINE, Observed, an_object, until

GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
# Kubernetes tells when a pod got its node in whole seconds, and its end comes by watch.
TOLERANCE = 2.5


async def staff() -> list[Group]:
    return [Group("staff", frozenset({"ada.lovelace"}), {})]


async def booked(cluster: Cluster, namespace: str, by: str = "user,spec") -> Object:
    """What the API would tell of yesterday and today."""
    today = timestamps.now().date()
    query = {"from": str(today - timedelta(days=1)), "to": str(today), "by": by}
    asked = report.wanted(query, None, True, today)
    return report.model(await LedgerDays(cluster, namespace).those_of(asked.days), asked)


def amounts(answer: Object, **of: str) -> Amounts:
    (row,) = [row for row in answer["rows"] if of.items() <= row.items()]
    return Amounts(row["held"], row["used"], row["given_back"])


async def a_notebook(cluster: Cluster, namespace: str, user: str, images: Images) -> Object:
    """A pod like the hub's, that does nothing."""
    pod = an_object(PODS, "jupyter-notebook", {"containers": [
        {"name": "notebook", "image": images.name("kernel"), "command": ["sleep", "3600"],
         "imagePullPolicy": images.pull_policy}
    ], "terminationGracePeriodSeconds": 0})  # fmt: skip
    pod["metadata"] |= {
        "labels": {"app.kubernetes.io/component": "singleuser-server"},
        "annotations": {"hub.jupyter.org/username": user},
    }
    return await cluster.create(PODS, namespace, pod)


async def report_activity(cluster: Cluster, kernel: Object, state: str) -> None:
    """As its gateway would."""
    now = timestamps.microseconds(timestamps.now())
    activity = {"executionState": state, "lastActivity": now, "connections": 1}
    await cluster.merge_patch(
        JUPYTER_KERNELS, kernel["metadata"]["namespace"], name_of(kernel),
        {"status": {"activity": activity}}, subresource="status",
    )  # fmt: skip


async def test_it_goes_on_where_the_service_before_has_stopped(
    cluster: Cluster,
    namespace: str,
    observed: Observed,
    images: Images,
    start: Any,
    remove: Any,
    running: Callable[..., Any],
) -> None:
    notebook = await a_notebook(cluster, namespace, "ada.lovelace", images)
    key = (namespace, name_of(notebook))
    server = await observed.pods.wait_for(
        key, lambda pod: status_of(pod or {}).get("phase") == "Running", DEADLINE
    )
    assert server is not None
    async with running(fetch_groups=staff) as worker:
        kernel = await start("ada.lovelace", container=GPU, server="")
        await observed.phase(kernel, "Running")
        await report_activity(cluster, kernel, "busy")
        key = (namespace, name_of(kernel))
        await until(lambda: "activity" in status_of(worker.kernels.store.get(key) or {}))
        busy_from = timestamps.now()
    stopped = timestamps.now()
    pod = observed.pods.store.get(key)
    assert pod is not None
    scheduled = _time(pod, "PodScheduled")
    began = timestamps.parse(server["status"]["startTime"])
    assert began is not None

    first = await booked(cluster, namespace)
    found = amounts(first, user="ada.lovelace", spec="python")
    assert found.held == pytest.approx(_seconds(scheduled, stopped), abs=TOLERANCE)
    assert found.used == pytest.approx(_seconds(busy_from, stopped), abs=TOLERANCE)
    # The notebook would have had its GPU before the kernel.
    assert found.given_back == pytest.approx(_seconds(began, scheduled), abs=TOLERANCE)

    # It ends while the next service acts.
    async with running(fetch_groups=staff) as worker:
        await observed.phase(await start("bob"), "Running")  # it acts
        await report_activity(cluster, kernel, "idle")
        await until(
            lambda: (
                status_of(worker.kernels.store.get(key) or {})["activity"]["executionState"]
                == "idle"
            )
        )
        idle_from = timestamps.now()
        await remove(name_of(kernel))
        await observed.gone(kernel)
        await observed.pods.wait_for(key, lambda pod: pod is None, DEADLINE)
        ended = timestamps.now()
    finished = timestamps.now()
    second = await booked(cluster, namespace)
    found = amounts(second, user="ada.lovelace", spec="python")
    assert found.held == pytest.approx(_seconds(scheduled, ended), abs=TOLERANCE)
    assert found.used == pytest.approx(_seconds(busy_from, idle_from), abs=TOLERANCE)
    assert found.static == pytest.approx(_seconds(began, finished), abs=TOLERANCE)
    by_group = await booked(cluster, namespace, by="group")
    assert [row["group"] for row in by_group["rows"]] == ["staff"]
    days = (await cluster.list(JUPYTER_LEDGERS, namespace))["items"]
    assert sum(len(day["status"]["servers"]) for day in days[-1:]) == 1


def _time(pod: Object, kind: str) -> datetime:
    (text,) = [
        one["lastTransitionTime"] for one in pod["status"]["conditions"] if one["type"] == kind
    ]
    found = timestamps.parse(text)
    assert found is not None
    return found


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
