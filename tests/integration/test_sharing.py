"""The line of those that wait for GPUs, with the real scheduler. Each kernel asks for all GPUs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from demo.observe import GPU, gpus_of_the_cluster
from hub_service.kinds import Object, condition, name_of, status_of
from hub_service.kube import Cluster
from hub_service.sharing.pods import gates, is_gated
from tests.integration.support import Observed

Start = Callable[[str, str], Awaitable[Object]]
FAIR = {"sharing": {"fair": True}, "quota": {"kernelsPerUser": 9}}


@pytest.fixture
async def join(cluster: Cluster, start: Any) -> Start:
    """Creates a kernel of that owner and name."""
    everything = {"resources": {"limits": {GPU: await gpus_of_the_cluster(cluster)}}}

    async def create(owner: str, name: str) -> Object:
        created: Object = await start(owner, name=name, container=everything)
        return created

    return create


async def _stands(observed: Observed, kernel: Object, reason: str, before: int) -> Object:
    """The kernel, once it says that it waits for that reason behind so many."""

    def says_so(status: Object) -> bool:
        said = condition({"status": status}, "Running") or {}
        place = (status.get("start") or {}).get("waitingBehind")
        return said.get("reason") == reason and place == before

    return await observed.kernel(kernel, says_so)


async def test_the_line_is_fair_and_each_knows_its_place(
    running: Any, join: Start, observed: Observed, remove: Any
) -> None:
    async with running(**FAIR):
        first = await observed.phase(await join("eve", "kernel-first"), "Running")
        # The scheduler sees the first that does not fit, and nobody after it.
        head = await _stands(observed, await join("eve", "kernel-head"), "Unschedulable", 0)
        a1 = await _stands(observed, await join("ada", "kernel-a1"), "WaitingInLine", 1)
        a2 = await _stands(observed, await join("ada", "kernel-a2"), "WaitingInLine", 2)
        # One who has none yet comes before the second of another.
        b1 = await _stands(observed, await join("bob", "kernel-b1"), "WaitingInLine", 2)
        a2 = await _stands(observed, a2, "WaitingInLine", 3)
        said = condition(a2, "Running")
        assert said is not None
        assert (
            "3 kernels wait before this one. Those who hold fewer GPUs come first."
            in (said["message"])
        )
        there = [pod for pod in observed.pods.store if name_of(pod).startswith("kernel-")]
        gated = {name_of(pod): is_gated(pod) for pod in there}
        assert gated == {
            "kernel-first": False, "kernel-head": False, "kernel-a1": True, "kernel-a2": True,
            "kernel-b1": True,
        }  # fmt: skip

        held = first
        for following in (head, a1, b1, a2):
            await remove(name_of(held))
            held = await observed.phase(following, "Running")
        assert status_of(held).get("start") is None


async def test_those_behind_the_gate_go_on_when_there_is_no_line_any_more(
    running: Any, join: Start, observed: Observed
) -> None:
    async with running(**FAIR):
        await observed.phase(await join("eve", "kernel-first"), "Running")
        await _stands(observed, await join("eve", "kernel-head"), "Unschedulable", 0)
        last = await _stands(observed, await join("ada", "kernel-last"), "WaitingInLine", 1)
    async with running(quota=FAIR["quota"], sharing={"fair": False}):
        await observed.pod("kernel-last", lambda pod: pod and not gates(pod))
        await _stands(observed, last, "Unschedulable", 1)


async def test_kernels_without_gpus_wait_for_nobody(
    running: Any, start: Any, join: Start, observed: Observed
) -> None:
    async with running(**FAIR):
        await observed.phase(await join("eve", "kernel-first"), "Running")
        await _stands(observed, await join("eve", "kernel-head"), "Unschedulable", 0)
        plain = await observed.phase(await start("ada"), "Running")
        assert gates(observed.pods_of(plain)[0]) == []
