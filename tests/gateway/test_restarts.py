"""Restarts as notebooks meet them: in the kernel's pod, in a new one, by others."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_service.kernels import kernel as kernels
from hub_service.kernels import restart
from hub_service.kernels.liveness import Rule
from hub_service.kinds import (
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNELS,
    name_of,
    spec_of,
    status_of,
)
from tests.gateway.conftest import Gateway, spec
from tests.gateway.support import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")


def says(state: str) -> Any:
    return lambda message: message["content"].get("execution_state") == state


async def ask(client: Client, kernel: str) -> int:
    return (await client.request("POST", f"/api/kernels/{kernel}/restart")).status


async def test_a_restart_keeps_the_pod_and_the_websocket(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.run("x = 1")

        assert await asyncio.gather(*(ask(alice, kernel) for _ in range(3))) == [200] * 3

        resource = gateway.kernels.of(kernel)
        assert status_of(resource)["restart"]["count"] == 0  # by the service itself
        assert (spec_of(resource)["incarnation"], status_of(resource)["phase"]) == (0, "Running")
        assert await channels.run("print('x' in globals())") == "False\n"
        first = spec_of(resource)["restart"]["id"]
        await channels.run("x = 1")
        assert await ask(alice, kernel) == 200
        assert spec_of(gateway.kernels.of(kernel))["restart"]["id"] != first
        assert await channels.run("print('x' in globals())") == "False\n"
    async with alice.channels(kernel) as channels:
        assert await channels.run("print('again')") == "again\n"
    assert len([name for name in gateway.kernels.pods if kernel in name]) == 1
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_what_is_sent_during_a_restart_runs_after_it(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.run("1")
        asked = asyncio.create_task(ask(alice, kernel))
        await gateway.kernels.until(kernel, lambda i: bool(i and "restart" in i["spec"]))
        async with alice.channels(kernel) as late:
            cells = [(c, await c.execute("print('after')")) for c in (channels, late)]
            for client, cell in cells:
                assert (await client.result(cell))[1] == "after\n"
        assert await asked == 200
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_busy_kernel_and_one_that_does_not_listen_are_restarted(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.execute("import time; print('on it'); time.sleep(600)")
        await channels.until(lambda m: m["content"].get("text", "").startswith("on it"))
        assert await ask(alice, kernel) == 200
        assert await channels.run("print('time' in globals())") == "False\n"

        gateway.kernels.pods[f"kernel-{kernel}"].send_signal(signal.SIGSTOP)
        assert await ask(alice, kernel) == 200
        assert await channels.run("print('back')") == "back\n"
    assert spec_of(gateway.kernels.of(kernel))["incarnation"] == 0
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_where_it_cannot_be_done_in_place_the_kernel_gets_a_new_pod(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    fixed = spec("fixed", restartInPlace=False)
    await gateway.cluster.create(JUPYTER_KERNEL_SPECS, gateway.namespace, fixed)
    await alice.until_listed("fixed", "Python")
    for name, refused in (("fixed", ""), ("python", "Its pod is of an earlier version.")):
        kernel = await alice.start(name)
        async with alice.channels(kernel) as channels:
            await channels.run("x = 1")
            if refused:
                gateway.kernels.deaf["alice"] = refused
            try:
                answers = await asyncio.gather(*(ask(alice, kernel) for _ in range(2)))
            finally:
                gateway.kernels.deaf.clear()
            assert answers == [200, 200]
            resource = gateway.kernels.of(kernel)
            assert spec_of(resource)["incarnation"] == 1
            assert (status_of(resource).get("restart") or {}).get("message", "") == refused
            assert await channels.run("print('x' in globals())") == "False\n"
        async with alice.channels(kernel) as channels:
            assert await channels.run("print('again')") == "again\n"
        await alice.request("DELETE", f"/api/kernels/{kernel}")
    await gateway.cluster.delete(JUPYTER_KERNEL_SPECS, gateway.namespace, "fixed")


async def test_a_restart_by_the_service_is_told_in_the_cell_and_as_a_status(
    gateway: Gateway,
) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.run("x = 1")
        await gateway.kernels.until(
            kernel,
            lambda i: bool(i and i["status"].get("activity", {}).get("executionState") == "idle"),
        )
        item, now = gateway.kernels.of(kernel), datetime.now(UTC)
        since = now - timedelta(minutes=2)
        due = restart.decide(item, kernels.desired_pod(item), since, Rule(60, 3), now)
        assert isinstance(due, restart.Deliver)
        begun = await gateway.kernels.write(item, restart.status_of_begun(due, item, now))
        await gateway.kernels.restart(name_of(item), due.grace)
        await gateway.kernels.write(begun, restart.status_of_outcome(due, None))

        seen = await channels.until(says("restarting"))

        (said,) = [m for m in seen if m["msg_type"] == "stream"]
        assert "though it was idle: it was restarted." in said["content"]["text"]
        assert "The kernel's variables are lost. The kernel can be used" in said["content"]["text"]
        assert await channels.run("print('x' in globals())") == "False\n"
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_new_pod_that_another_gateway_asked_for_is_followed(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.run("x = 1")
        await gateway.cluster.merge_patch(
            JUPYTER_KERNELS, gateway.namespace, f"kernel-{kernel}", {"spec": {"incarnation": 1}}
        )
        await gateway.kernels.until(
            kernel, lambda i: bool(i and i["status"].get("podName", "").endswith("-1"))
        )
        async with asyncio.timeout(30):
            while await channels.run("print('x' in globals())") != "False\n":
                pass
    await alice.request("DELETE", f"/api/kernels/{kernel}")
