"""Sealing: what the hub service asks when a kernel's time is up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hub_service import kinds, timestamps
from hub_service.kinds import Object
from tests.gateway.conftest import Gateway
from tests.gateway.support import Answer, says

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def cull(gateway: Gateway, kernel: str, idle_before: datetime, **more: object) -> Answer:
    body = {"idle_before": timestamps.microseconds(idle_before), **more}
    return await gateway.service().request("POST", f"/api/kernels/{kernel}/cull", body)


def now() -> datetime:
    return datetime.now(UTC)


async def test_an_idle_kernel_is_sealed_and_takes_no_more(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        cell = await channels.execute("x = 1")
        await channels.result(cell)

        assert (await cull(gateway, kernel, now() - timedelta(minutes=1))).status == 409
        answer = await cull(gateway, kernel, now())

        assert (answer.status, answer.body["sealed"]) == (200, True)
        seen = await channels.until(says("dead"))
        (said,) = [m for m in seen if m["msg_type"] == "stream"]
        assert "had been idle since" in said["content"]["text"]
        assert said["parent_header"]["msg_id"] == cell
        reply, text = await channels.result(await channels.execute("print(x)"))
        assert reply["status"] == "error"
        assert "had been idle since" in text
    async with alice.channels(kernel) as channels:  # a tab that is opened afterwards
        reply, _ = await channels.result(await channels.execute("print(x)"))
        assert reply["status"] == "error"
    model = (await alice.request("GET", f"/api/kernels/{kernel}")).body
    assert model["execution_state"] == "dead"
    assert "had been idle since" in model["reason"]
    assert (await cull(gateway, kernel, now())).body["sealed"]  # asked once more
    restart = await alice.request("POST", f"/api/kernels/{kernel}/restart")
    assert restart.status == 409
    assert "had been idle since" in restart.body["message"]
    process = gateway.kernels.pods[f"kernel-{kernel}"]
    assert await process.wait() == 0  # it was asked to end, and did
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_busy_kernel_and_one_with_accepted_work_are_not(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        # A task on the kernel's own loop keeps it from taking up the next cell.
        await channels.run(
            "import asyncio, time\nasyncio.get_running_loop().call_later(0.2, time.sleep, 2)"
        )
        first = await channels.execute("import time; time.sleep(0.5); print('first')")
        await channels.until(says("busy"))
        answer = await cull(gateway, kernel, now() + timedelta(hours=1))
        assert (answer.status, answer.body["sealed"]) == (409, False)
        assert answer.body["execution_state"] == "busy"
        assert timestamps.parse(answer.body["last_activity"]) is not None
        await channels.result(first)
        second = await channels.execute("print('second')")
        assert (await alice.state(kernel)) == "busy"  # accepted, whether taken up or not
        assert (await cull(gateway, kernel, now() + timedelta(hours=1))).status == 409
        _, text = await channels.result(second)
        assert text == "second\n"
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_an_open_tab_is_no_activity(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.run("1")
        before = now()
        info = await channels.send("kernel_info_request", {})
        await channels.until(lambda m: m["parent_header"].get("msg_id") == info)
    async with alice.channels(kernel):
        answer = await cull(gateway, kernel, before)
        assert (answer.status, answer.body["sealed"]) == (200, True)
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_kernel_that_waits_for_its_user_or_a_debugger_is_not(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    later = now() + timedelta(hours=1)
    async with alice.channels(kernel) as channels:
        asks = {"code": "x = input()", "silent": False, "allow_stdin": True}
        cell = await channels.send("execute_request", asks)
        await channels.until(lambda m: m["msg_type"] == "input_request")
        assert (await cull(gateway, kernel, later)).status == 409
        await channels.send("input_reply", {"value": "1"}, "stdin")
        await channels.result(cell)

        async def debug(command: str) -> None:
            request = {"type": "request", "seq": 1, "command": command, "arguments": {}}
            await channels.send("debug_request", request, "control")

        def is_debugged(item: Object | None) -> bool:
            said = kinds.status_of(item or {}).get("activity") or {}
            return any((said.get("debuggingByPod") or {}).values())

        await debug("debugInfo")  # as each tab does
        await debug("attach")
        await gateway.kernels.until(kernel, is_debugged)
        assert (await cull(gateway, kernel, later)).status == 409
        await debug("disconnect")
        await gateway.kernels.until(kernel, lambda item: not is_debugged(item))
        assert (await cull(gateway, kernel, later)).body["sealed"]
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_an_open_notebook_keeps_a_kernel_where_that_is_asked_for(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    unless_open = {"unless_connected": True}
    async with alice.channels(kernel) as channels:
        await channels.run("1")
        assert (await cull(gateway, kernel, now(), **unless_open)).status == 409

    def is_left(item: Object | None) -> bool:
        said = kinds.status_of(item or {}).get("activity") or {}
        return not said.get("connectionsByPod") and "lastConnected" in said

    await gateway.kernels.until(kernel, is_left)
    assert (await cull(gateway, kernel, now(), **unless_open)).body["sealed"]
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_only_the_service_seals_and_only_known_kernels(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    body = {"idle_before": timestamps.microseconds(now())}

    assert (await alice.request("POST", f"/api/kernels/{kernel}/cull", body)).status == 403
    unknown = "00000000-0000-4000-8000-000000000000"
    assert (await cull(gateway, unknown, now())).status == 404
    for bad in ({}, {"idle_before": "yesterday"}, {"idle_before": 5}, []):
        answer = await gateway.service().request("POST", f"/api/kernels/{kernel}/cull", bad)
        assert answer.status == 400, bad

    async with alice.channels(kernel) as channels:
        assert await channels.run("print('alive')") == "alive\n"
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_kernel_that_is_held_keeps_what_comes_until_it_is_sealed_or_released(
    gateway: Gateway,
) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()

    async def step(name: str, idle_before: datetime) -> Answer:
        body = {"idle_before": timestamps.microseconds(idle_before), "step": name}
        return await gateway.service().request("POST", f"/api/kernels/{kernel}/cull", body)

    async with alice.channels(kernel) as channels:
        await channels.run("x = 1")
        assert (await step("hold", now() - timedelta(minutes=1))).status == 409
        answer = await step("hold", now())
        assert (answer.status, answer.body) == (200, {"sealed": False, "held": True})
        cell = await channels.execute("print(x)")
        async with alice.channels(kernel) as late:
            late_cell = await late.execute("print(x + 1)")
            assert (await alice.state(kernel)) == "idle"
            assert (await step("release", now())).status == 409
            assert (await channels.result(cell))[1] == "1\n"
            assert (await late.result(late_cell))[1] == "2\n"

        assert (await step("hold", now())).status == 200
        cell = await channels.execute("print(x)")
        answer = await step("seal", now())
        assert (answer.status, answer.body) == (200, {"sealed": True, "held": False})
        reply, text = await channels.result(cell)
        assert (reply["status"], "had been idle since" in text) == ("error", True)
    assert (await step("hover", now())).status == 400
    await alice.request("DELETE", f"/api/kernels/{kernel}")
