"""Reports of activity: the latest counts, no more than one in an interval."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from elastic_spawner.gateway.reporting import ActivityReporter
from hub_service.kube import ApiError

INTERVAL = 0.05


def activity(state: str, connections: int = 0) -> dict[str, Any]:
    moment = "2026-01-01T00:00:00.000000Z"
    return {
        "executionState": state,
        "lastActivity": moment,
        "idleSince": moment if state == "idle" else None,
        "connections": connections,
        "connectionsByPod": {"gateway-1": connections or None},
    }


class Written:
    """What arrived, and when; fails with the errors it is given first."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.tries: list[float] = []
        self.states: list[str] = []
        self.changed = asyncio.Condition()

    async def __call__(self, name: str, activity: dict[str, Any]) -> None:
        assert name == "kernel-1"
        async with self.changed:
            self.tries.append(asyncio.get_running_loop().time())
            self.changed.notify_all()
            if self.errors:
                raise self.errors.pop(0)
            self.states.append(activity["executionState"])

    async def until(self, *states: str) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.states == list(states))


async def test_the_first_is_written_at_once_and_then_the_latest() -> None:
    written = Written()
    reporter = ActivityReporter(written, interval=INTERVAL)
    reporter.report("kernel-1", activity("starting"))  # goes without saying
    for connections, state in enumerate(("busy", "idle", "busy", "idle")):
        reporter.report("kernel-1", activity(state, connections))
        if connections == 0:
            await written.until("busy")
    await written.until("busy", "idle")
    assert written.tries[1] - written.tries[0] >= INTERVAL
    await reporter.close()


async def test_the_first_answer_does_not_wait() -> None:
    written = Written()
    reporter = ActivityReporter(written, interval=3600)
    reporter.report("kernel-1", activity("starting", 1))
    await written.until("starting")
    reporter.report("kernel-1", activity("idle", 1))
    await written.until("starting", "idle")
    await reporter.close()


async def test_what_was_written_is_not_written_again() -> None:
    written = Written()
    reporter = ActivityReporter(written, interval=INTERVAL)
    reporter.report("kernel-1", activity("idle"))
    await written.until("idle")
    reporter.report("kernel-1", activity("idle"))
    reporter.report("kernel-1", activity("busy"))
    await written.until("idle", "busy")
    await reporter.close()


async def test_a_failed_write_is_tried_again_with_what_is_then_the_latest() -> None:
    written = Written(ApiError(500, "InternalError", "no"), ApiError(0, "Timeout", "no"))
    reporter = ActivityReporter(written, interval=INTERVAL)
    reporter.report("kernel-1", activity("busy"))
    async with written.changed:
        await written.changed.wait_for(lambda: len(written.tries) == 1)
    reporter.report("kernel-1", activity("idle"))
    await written.until("idle")
    assert len(written.tries) == 3
    await reporter.close()


@pytest.mark.parametrize("end", ["deleted", "forgotten"])
async def test_a_kernel_that_ended_is_left_alone(end: str) -> None:
    written = Written(*[ApiError(404, "NotFound", "gone")] * (end == "deleted"))
    reporter = ActivityReporter(written, interval=INTERVAL)
    reporter.report("kernel-1", activity("busy"))
    async with written.changed:
        await written.changed.wait_for(lambda: len(written.tries) == 1)
    if end == "forgotten":
        reporter.report("kernel-1", activity("idle"))
        reporter.forget("kernel-1")
    await asyncio.sleep(3 * INTERVAL)  # nothing is to happen: there is nothing to wait for
    assert len(written.tries) == 1
    await reporter.close()
