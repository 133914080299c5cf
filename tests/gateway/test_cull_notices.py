"""What people see of a cull before it, and what a kernel saves, as the service asks for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub_service import timestamps
from hub_service.kinds import JUPYTER_KERNEL_SPECS
from tests.gateway.conftest import Gateway, spec
from tests.gateway.support import DEADLINE, Answer, Client, says

pytestmark = pytest.mark.asyncio(loop_scope="session")


def now() -> datetime:
    return datetime.now(UTC)


def is_a(kind: str) -> Any:
    return lambda message: message["msg_type"] == kind


async def step(
    gateway: Gateway, kernel: str, name: str, idle_before: datetime, **more: object
) -> Answer:
    body = {"idle_before": timestamps.microseconds(idle_before), "step": name, **more}
    return await gateway.service().request("POST", f"/api/kernels/{kernel}/cull", body)


async def when_idle(client: Client, kernel: str) -> datetime:
    """A moment from which the gateway, too, knows that the last cell is done."""
    async with asyncio.timeout(DEADLINE):
        while await client.state(kernel) != "idle":
            pass
    return now()


@asynccontextmanager
async def a_kernel_with(
    gateway: Gateway, name: str, hook: dict[str, object]
) -> AsyncIterator[tuple[Client, str]]:
    """A kernel of a spec that names something to be run before a cull."""
    body = spec(name, displayName=name, beforeCull=hook)
    await gateway.cluster.create(JUPYTER_KERNEL_SPECS, gateway.namespace, body)
    alice = gateway.client("alice")
    try:
        await alice.until_listed(name, name)
        kernel = await alice.start(name)
        assert gateway.kernels.of(kernel)["spec"]["beforeCull"] == hook
        yield alice, kernel
        await alice.request("DELETE", f"/api/kernels/{kernel}")
    finally:
        await gateway.cluster.delete(JUPYTER_KERNEL_SPECS, gateway.namespace, name)


async def test_a_cull_that_is_near_is_shown_below_the_last_cell(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()

    async def note(**culling: object) -> None:
        await gateway.kernels.write(gateway.kernels.of(kernel), {"culling": culling})

    deadline = now() + timedelta(minutes=5)
    async with alice.channels(kernel) as channels:
        await channels.run("x = 1")
        cell = await channels.execute("x")
        await channels.result(cell)
        await when_idle(alice, kernel)
        warned = {
            "deadline": timestamps.microseconds(deadline),
            "warnedAt": timestamps.microseconds(now()),
            "reason": "Idle",
        }
        await note(**warned)
        shown = (await channels.until(is_a("display_data")))[-1]
        assert shown["parent_header"]["msg_id"] == cell
        assert f"ends at {deadline:%H:%M:%S} UTC" in shown["content"]["data"]["text/plain"]
        assert '<a href="/services/elastic/"' in shown["content"]["data"]["text/html"]

        kept = deadline + timedelta(hours=1)
        await note(deadline=None, warnedAt=None, keptUntil=timestamps.microseconds(kept))
        updated = (await channels.until(is_a("update_display_data")))[-1]
        assert updated["content"]["transient"] == shown["content"]["transient"]
        assert f"kept until {kept:%H:%M:%S} UTC" in updated["content"]["data"]["text/plain"]
        # To be told so is no activity.
        assert (await step(gateway, kernel, "hold", deadline)).status == 200
        assert (await step(gateway, kernel, "release", deadline)).status == 409
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_what_its_spec_names_is_run_and_told(gateway: Gateway) -> None:
    async with (
        a_kernel_with(gateway, "saves", {"code": "print('saved', x)"}) as (alice, kernel),
        alice.channels(kernel) as channels,
    ):
        cell = await channels.execute("x = 41")
        await channels.result(cell)
        idle = await when_idle(alice, kernel)
        assert (await step(gateway, kernel, "save", idle)).status == 409  # it isn't held
        assert (await step(gateway, kernel, "hold", idle)).status == 200
        answer = await step(gateway, kernel, "save", idle)
        assert (answer.status, answer.body) == (
            200,
            {"saved": {"succeeded": True, "message": "saved 41"}},
        )
        assert (await step(gateway, kernel, "hold", idle)).status == 200  # it is idle still
        why = {"reason": "MaximumAge", "message": "The kernel is old."}
        answer = await step(gateway, kernel, "seal", idle, **why, **answer.body)
        assert answer.body == {"sealed": True, "held": False}
        seen = await channels.until(says("dead"))
        (told,) = [m for m in seen if m["msg_type"] == "stream" and m["parent_header"]]
        assert told["parent_header"]["msg_id"] == cell
        assert (
            "The kernel is old. Its variables are gone. saved 41. Start"
            in (told["content"]["text"])
        )
        # The service asks once more where it has not heard the answer.
        answer = await step(gateway, kernel, "save", idle)
        assert answer.body == {"sealed": True, "held": False}


async def test_whoever_comes_back_while_it_saves_keeps_the_kernel(
    gateway: Gateway, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    code = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)"
    async with (
        a_kernel_with(gateway, "slow", {"code": code, "timeoutSeconds": 60}) as (alice, kernel),
        alice.channels(kernel) as channels,
    ):
        await channels.run("x = 1")
        idle = await when_idle(alice, kernel)
        assert (await step(gateway, kernel, "hold", idle)).status == 200
        saving = asyncio.create_task(step(gateway, kernel, "save", idle))
        await channels.until(says("busy"))  # it has begun
        cell = await channels.execute("print(x)")
        assert (await alice.state(kernel)) == "idle"
        go_on.touch()
        assert (await saving).body["saved"]["succeeded"]
        answer = await step(gateway, kernel, "hold", idle)
        assert (answer.status, answer.body["execution_state"]) == (409, "busy")
        assert (await channels.result(cell))[1] == "1\n"


@pytest.mark.parametrize(
    ("name", "hook", "told"),
    [
        ("fails", {"code": "1 / 0"}, "ZeroDivisionError: division by zero"),
        (
            "hangs",
            {"code": "import time; time.sleep(600)", "timeoutSeconds": 1},
            "it did not end within 1 seconds.",
        ),
    ],
)
async def test_what_fails_is_told_and_holds_nothing_up(
    gateway: Gateway, name: str, hook: dict[str, object], told: str
) -> None:
    async with (
        a_kernel_with(gateway, name, hook) as (alice, kernel),
        alice.channels(kernel) as channels,
    ):
        await channels.run("x = 1")
        idle = await when_idle(alice, kernel)
        await step(gateway, kernel, "hold", idle)
        saved = (await step(gateway, kernel, "save", idle)).body
        assert saved == {"saved": {"succeeded": False, "message": told}}
        assert (await step(gateway, kernel, "hold", idle)).status == 200
        assert (await step(gateway, kernel, "seal", idle, **saved)).body["sealed"]
        assert f"Saving failed: {told}" in str(await channels.until(says("dead")))
