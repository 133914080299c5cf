"""Which rules end a kernel: of its spec, of an open notebook, of its age."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from demo.install import kubectl
from hub_service import timestamps
from hub_service.hub.groups import Group
from hub_service.kinds import JUPYTER_KERNEL_SPECS, Object, name_of, spec_of, status_of
from hub_service.kube import Cluster
from tests.integration.gateway_stand_in import GATEWAY, StandIn
from tests.integration.support import Observed, an_object


def noted(kernel: Object) -> Object:
    culling: Object = status_of(kernel).get("culling") or {}
    return culling


async def test_a_spec_s_rule_is_shown_and_a_shorter_one_acts_at_once(
    cluster: Cluster,
    namespace: str,
    serving: Any,
    start: Any,
    report: Any,
    observed: Observed,
    stand_in: StandIn,
) -> None:
    spec = an_object(JUPYTER_KERNEL_SPECS, "python", {"culling": {"idleTimeout": 7200}})
    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec)
    async with serving(1):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        rule = "It ends after 2 h idle (by JupyterKernelSpec python)."
        kernel = await observed.kernel(
            kernel, lambda status: (status.get("culling") or {}).get("rule") == rule
        )
        assert "extensions 3 (the settings' culling)" in noted(kernel)["policy"]
        assert rule in kubectl("describe", "jupyterkernel", "-n", namespace, name_of(kernel))
        await report(kernel, "idle", seconds_ago=60)
        shorter = {"spec": {"culling": {"idleTimeout": 2}}}
        await cluster.merge_patch(JUPYTER_KERNEL_SPECS, namespace, "python", shorter)
        await observed.gone(kernel, 20)
    (asked,) = stand_in.asked
    assert asked[2]["reason"] == "Idle"
    assert "(by JupyterKernelSpec python)" in asked[2]["message"]


async def test_who_leaves_a_group_has_its_rules_no_longer(
    serving: Any,
    start: Any,
    report: Any,
    observed: Observed,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_service.hub.known_groups._LOOK_INTERVAL", 0.2)
    monkeypatch.setattr("hub_service.hub.known_groups._RECENT", 0.0)
    members = {"ada"}

    async def training() -> list[Group]:
        return [Group("training", frozenset(members), {})]

    rules = {"idleTimeout": 2, "groups": {"training": {"idleTimeout": 0}}}
    async with serving(0, fetch_groups=training, culling=rules):
        kernel = await observed.phase(await start("ada", **GATEWAY), "Running")
        probe = await observed.phase(await start("bob", **GATEWAY), "Running")
        await report(kernel, "idle", seconds_ago=60)
        await report(probe, "idle", seconds_ago=60)
        await observed.gone(probe, 20)
        assert [kernel_id for kernel_id, _, _ in stand_in.asked] == [spec_of(probe)["kernelID"]]
        members.clear()
        await observed.gone(kernel, 20)


async def test_a_kernel_with_an_open_notebook_stays_until_it_is_closed(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    async with serving(0, culling={"idleTimeout": 2, "connected": True}):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        probe = await observed.phase(await start("bob", **GATEWAY), "Running")
        await report(kernel, "idle", seconds_ago=60, connectionsByPod={"shared-0": 1})
        await report(probe, "idle")
        await observed.gone(probe, 20)
        assert [kernel_id for kernel_id, _, _ in stand_in.asked] == [spec_of(probe)["kernelID"]]
        closed = datetime.now(UTC)
        left = {"connectionsByPod": {"shared-0": None}}
        left["lastConnected"] = timestamps.microseconds(closed)  # type: ignore[assignment]
        await report(kernel, "idle", seconds_ago=60, **left)
        await observed.gone(kernel, 20)
    assert (datetime.now(UTC) - closed).total_seconds() >= 1.9
    assert stand_in.asked[-1][2]["unless_connected"] is True


async def test_a_kernel_at_work_is_given_notice_of_its_age_and_left_alone(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    async with serving(0, culling={"idleTimeout": 0, "maxAge": 2}):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        await report(kernel, "busy")
        kernel = await observed.kernel(
            kernel, lambda status: (status.get("culling") or {}).get("warnedAt")
        )
        assert noted(kernel)["reason"] == "MaximumAge"
        probe = await observed.phase(await start("bob", cullIdleTimeout=2, **GATEWAY), "Running")
        await report(probe, "idle")
        await observed.gone(probe, 20)  # its age, too, is over by then
        assert [kernel_id for kernel_id, _, _ in stand_in.asked] == [spec_of(probe)["kernelID"]]
        assert observed.kernels.store.get((observed.namespace, name_of(kernel))) is not None
