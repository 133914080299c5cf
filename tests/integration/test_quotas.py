"""Quotas on a real cluster: limits of groups, resources, waiting for room, a hub that is away."""

from __future__ import annotations

from typing import Any

import pytest

from hub_service.hub.groups import Group
from hub_service.kinds import (
    JUPYTER_KERNELS,
    NAMESPACES,
    Object,
    condition,
    name_of,
    status_of,
    uid_of,
)
from hub_service.kube import Cluster
from tests.integration.support import Observed

# Pods for which there is no node, in a cluster that might get one: they wait and cost nothing.
NOWHERE = {"nodeSelector": {"elastic.test/nowhere": "true"}}
SETTINGS = {"start": {"autoscaler": True}}
GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}


class Hub:
    """The hub's groups; None while it is away."""

    def __init__(self, **properties: str) -> None:
        self.groups: list[Group] | None = []
        self.write(**properties)

    def write(self, **properties: str) -> None:
        """The properties of the group of ada."""
        named = {f"elastic.{key}": value for key, value in properties.items()}
        self.groups = [Group("students", frozenset({"ada"}), named)]

    async def fetch(self) -> list[Group] | None:
        return self.groups


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub says is asked for at each start, and after a failure too."""
    monkeypatch.setattr("hub_service.hub.known_groups._RECENT", 0.0)
    monkeypatch.setattr("hub_service.hub.known_groups._ASK_AGAIN_AFTER_FAILURE", 0.0)


def waits(status: Object) -> bool:
    entry = condition({"status": status}, "Running")
    return entry is not None and entry["reason"] == "WaitingForQuota"


def admitted(status: Object) -> bool:
    entry = condition({"status": status}, "Admitted")
    return entry is not None and entry["status"] == "True"


async def test_a_groups_limit_counts_from_the_next_start_on(
    running: Any, start: Any, remove: Any, observed: Observed
) -> None:
    hub = Hub(kernels="1")
    async with running(fetch_groups=hub.fetch, **SETTINGS):
        first = await observed.kernel(await start("ada", pod_spec=NOWHERE), admitted)
        refused = await observed.phase(await start("ada", pod_spec=NOWHERE), "Refused")
        entry = condition(refused, "Admitted") or {}
        assert (
            "ada may have 1 kernel (of group students), and this one is there" in entry["message"]
        )
        others = [await start("bob", pod_spec=NOWHERE) for _ in range(2)]
        for other in others:
            await observed.kernel(other, admitted)

        hub.write(kernels="3")
        more = [await start("ada", pod_spec=NOWHERE) for _ in range(2)]
        for kernel in more:
            await observed.kernel(kernel, admitted)

        hub.write(kernels="1")  # lowered: what is there stays
        await observed.phase(await start("ada", pod_spec=NOWHERE), "Refused")
        for kernel in more:
            await remove(name_of(kernel))
            await observed.gone(kernel)
        again = await observed.phase(await start("ada", pod_spec=NOWHERE), "Refused")
        assert name_of(first) in (condition(again, "Admitted") or {})["message"]


async def test_gpus_are_counted_by_name(running: Any, start: Any, observed: Observed) -> None:
    quota = {"kernelsPerUser": 5, "resourcesPerUser": {"nvidia.com/gpu": 1}}
    async with running(quota=quota, **SETTINGS):
        holder = await start(pod_spec=NOWHERE, container=GPU)
        await observed.kernel(holder, admitted)
        plain = [await start(pod_spec=NOWHERE) for _ in range(2)]
        refused = await observed.phase(await start(pod_spec=NOWHERE, container=GPU), "Refused")
        for kernel in plain:
            await observed.kernel(kernel, admitted)
    message = (condition(refused, "Admitted") or {})["message"]
    assert message.startswith("GPU quota reached: alice may have 1 GPU (nvidia.com/gpu)")
    assert name_of(holder) in message
    assert not [kernel for kernel in plain if name_of(kernel) in message]


async def test_those_that_wait_come_in_as_others_end_the_oldest_first(
    running: Any, start: Any, remove: Any, observed: Observed
) -> None:
    quota = {"kernelsPerUser": 1, "whenFull": "wait"}
    async with running(quota=quota, **SETTINGS):
        first = await observed.kernel(await start(pod_spec=NOWHERE), admitted)
        # Of those that came within a second, the uid decides.
        line = [await start(pod_spec=NOWHERE) for _ in range(2)]
        second, third = sorted(
            line, key=lambda item: (item["metadata"]["creationTimestamp"], uid_of(item))
        )
        await observed.kernel(second, waits)
        third = await observed.kernel(
            third, lambda s: waits(s) and s["start"].get("waitingBehind") == 1
        )
        assert status_of(third)["phase"] == "Pending"
        assert status_of(third)["start"]["waitingBehind"] == 1
        message = (condition(third, "Running") or {})["message"]
        assert name_of(first) in message
        assert "1 kernel of alice waits before it." in message
        # Somebody else does not wait.
        await observed.kernel(await start("bob", pod_spec=NOWHERE), admitted)

        await remove(name_of(first))
        second = await observed.kernel(second, admitted, 5)
        third = await observed.kernel(third, lambda s: s["start"].get("waitingBehind") == 0)
        assert waits(status_of(third))
        await remove(name_of(second))
        await observed.kernel(third, admitted, 5)
        assert observed.pods_made_for(third) == [name_of(third)]


async def test_a_wait_ends_when_its_time_is_over(
    running: Any, start: Any, observed: Observed
) -> None:
    settings = {"start": {"autoscaler": True, "schedulingTimeout": 1}}
    async with running(quota={"kernelsPerUser": 1, "whenFull": "wait"}, **settings):
        await observed.kernel(await start(container={"command": ["sleep", "60"]}), admitted)
        late = await observed.phase(await start(pod_spec=NOWHERE), "Refused")
    entry = condition(late, "Admitted") or {}
    assert entry["reason"] == "SchedulingTimeout"
    assert "than the 1 s that start.schedulingTimeout allows" in entry["message"]
    assert observed.pods_made_for(late) == []


async def test_nothing_is_decided_before_the_hub_has_told_its_groups(
    running: Any, start: Any, observed: Observed
) -> None:
    hub = Hub(kernels="1")
    told, hub.groups = hub.groups, None
    async with running(fetch_groups=hub.fetch, **SETTINGS):
        kernels = [await start("ada", pod_spec=NOWHERE) for _ in range(2)]
        for kernel in kernels:
            pending = await observed.kernel(kernel, lambda s: s.get("conditions"))
            assert (condition(pending, "Running") or {})["reason"] == "GroupsUnknown"
            assert condition(pending, "Admitted") is None
        nobodys = await start(None, pod_spec=NOWHERE)
        await observed.kernel(nobodys, admitted)
        hub.groups = told
        phases = [
            status_of(await observed.kernel(kernel, lambda s: condition({"status": s}, "Admitted")))
            for kernel in kernels
        ]
        assert sorted(status["phase"] for status in phases) == ["Pending", "Refused"]
        # Once known they count, whether the hub answers or not.
        hub.groups = None
        await observed.phase(await start("ada", pod_spec=NOWHERE), "Refused")


async def test_a_users_kernels_count_together_in_all_namespaces(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    other = f"{namespace}-more"
    await cluster.create(NAMESPACES, None, {"metadata": {"name": other}})
    try:
        quota = {"kernelsPerUser": 1, "whenFull": "wait"}
        async with running(quota=quota, extraNamespaces=[other], **SETTINGS):
            elsewhere = await start(where=other, pod_spec=NOWHERE)
            async with Observed.of(cluster, other) as observed_there:
                await observed_there.kernel(elsewhere, admitted)
                here = await observed.kernel(await start(pod_spec=NOWHERE), waits)
                await cluster.delete(JUPYTER_KERNELS, other, name_of(elsewhere))
                await observed.kernel(here, admitted, 5)
    finally:
        await cluster.delete(NAMESPACES, None, other)
