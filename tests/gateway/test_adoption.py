"""A gateway that ends, in whichever way, and the next process that finds its kernels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from hub_service import kinds
from hub_service.gateways.activity import Active, GatewayClient, Sealed
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNELS, SECRETS
from tests.gateway.conftest import Gateway, a_gateway, free_port, spec
from tests.gateway.support import DEADLINE, Client, says

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One that is ended and started again."""
    async with a_gateway(tmp_path_factory.mktemp("kernels")) as gateway:
        yield gateway


@pytest.mark.parametrize("kill", [True, False], ids=["SIGKILL", "SIGTERM"])
async def test_the_next_process_finds_kernels_idle_and_busy(gateway: Gateway, kill: bool) -> None:
    alice, bob = gateway.client("alice"), gateway.client("bob")
    await gateway.cluster.create(
        JUPYTER_KERNEL_SPECS,
        gateway.namespace,
        spec(f"passing-{kill}".lower(), interruptMode="signal"),
    )
    idle, busy = await alice.start(), await bob.start()
    sessions = [{"id": "1", "path": "a.ipynb", "name": "a", "type": "notebook"}]
    await alice.request("PUT", f"/api/kernels/{idle}/sessions", {"sessions": sessions})
    async with alice.channels(idle) as channels:
        await channels.run("x = 41")
    before = (await alice.request("GET", f"/api/kernels/{idle}")).body
    # What one that is killed has not reported is lost.
    await gateway.kernels.until(
        idle,
        lambda i: (
            bool(i)
            and i["status"]["activity"]["executionState"] == "idle"
            and i["status"]["activity"]["lastActivity"] == before["last_activity"]
            and i["status"]["activity"]["connections"] == 0
        ),
    )
    async with bob.channels(busy, session="bobs") as channels:
        await channels.run("import time; y = 1")
        cell = await channels.execute("print('on it', flush=True)\ntime.sleep(600)")
        await channels.until(lambda m: m["content"].get("text", "").startswith("on it"))
        await gateway.kernels.until(
            busy, lambda i: bool(i) and i["status"]["activity"]["executionState"] == "busy"
        )

        assert await gateway.stop(kill=kill) == (-9 if kill else 0)
    await gateway.start()

    (found,) = (await alice.request("GET", "/api/kernels")).body
    assert await alice.state(idle) == "idle"
    assert {key: found[key] for key in ("id", "name", "server", "sessions", "last_activity")} == {
        key: before[key] for key in ("id", "name", "server", "sessions", "last_activity")
    }
    assert (await bob.request("GET", f"/api/kernels/{idle}")).status == 404
    async with alice.channels(idle) as channels:
        assert await channels.run("print(x + 1)") == "42\n"
    assert await bob.state(busy) == "busy"
    async with bob.channels(busy, session="bobs") as channels:
        assert (await bob.request("POST", f"/api/kernels/{busy}/interrupt")).status == 204
        reply, _ = await channels.result(cell)  # it goes to whoever has the session now
        assert reply["ename"] == "KeyboardInterrupt"
        assert await channels.run("print(y)") == "1\n"
        assert (await bob.request("POST", f"/api/kernels/{busy}/restart")).status == 200
        assert await channels.run("print('y' in globals())") == "False\n"
    for client, kernel in ((alice, idle), (bob, busy)):
        assert (await client.request("DELETE", f"/api/kernels/{kernel}")).status == 204
        await gateway.kernels.until(kernel, lambda item: item is None)


async def test_what_became_of_a_kernel_meanwhile(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    killed, ended, secretless = await asyncio.gather(*(alice.start() for _ in range(3)))
    await gateway.stop(kill=True)
    gateway.kernels.pods[f"kernel-{killed}"].kill()
    await gateway.kernels.until(
        killed, lambda i: bool(i) and kinds.status_of(i)["phase"] == kinds.Phase.FAILED
    )
    await gateway.cluster.delete(JUPYTER_KERNELS, gateway.namespace, f"kernel-{ended}")
    await gateway.cluster.delete(SECRETS, gateway.namespace, f"kernel-{secretless}")
    await gateway.start()

    await gateway.kernels.until(secretless, lambda item: item is None)
    (found,) = (await alice.request("GET", "/api/kernels")).body
    assert (found["id"], found["execution_state"]) == (killed, "dead")
    assert "out of memory" in found["reason"]
    async with alice.channels(killed) as channels:
        await channels.until(says("dead"))
        assert (await alice.request("POST", f"/api/kernels/{killed}/restart")).status == 200
        assert await channels.run("print('back')") == "back\n"
    await alice.request("DELETE", f"/api/kernels/{killed}")


async def test_a_start_that_is_under_way_goes_on(gateway: Gateway) -> None:
    slow = gateway.client("slow")
    room = gateway.kernels.gates["slow"] = asyncio.Event()
    answer = await slow.request("POST", "/api/kernels", {"name": "python"})
    assert (answer.status, answer.body["execution_state"]) == (201, "starting")
    kernel = answer.body["id"]
    await gateway.stop(kill=True)
    await gateway.start()
    model = (await slow.request("GET", f"/api/kernels/{kernel}")).body
    assert (model["execution_state"], model["reason"]) == ("starting", "Waiting for a GPU.")

    async with slow.channels(kernel) as channels:
        cell = await channels.execute("print('here')")
        await channels.until(lambda m: "Waiting for a GPU" in m["content"].get("text", ""))
        room.set()
        _, text = await channels.result(cell)
    assert text.endswith("here\n")
    await slow.request("DELETE", f"/api/kernels/{kernel}")


async def test_two_processes_serve_the_same_kernels(gateway: Gateway) -> None:
    async with another_process(gateway) as second:
        alice, other = gateway.client("alice"), second.client("alice")
        kernel = await alice.start()
        sessions = "alices"
        async with other.channels(kernel, session=sessions) as channels:
            await channels.run("x = 1")
        async with alice.channels(kernel) as channels:
            assert await channels.run("print(x)") == "1\n"
            cell = await channels.execute("import time; time.sleep(600)")
            await until(lambda: other.state(kernel), "busy")
            assert (await other.request("POST", f"/api/kernels/{kernel}/interrupt")).status == 204
            reply, _ = await channels.result(cell)
            assert reply["ename"] == "KeyboardInterrupt"
            # A client at the one, a restart at the other.
            assert (await other.request("POST", f"/api/kernels/{kernel}/restart")).status == 200
            assert await channels.run("print('x' in globals())") == "False\n"
            await gateway.kernels.until(kernel, lambda i: connections(i) == 1)
            async with other.channels(kernel):
                await gateway.kernels.until(kernel, lambda i: connections(i) == 2)
            await gateway.kernels.until(kernel, lambda i: connections(i) == 1)
        assert (await other.request("DELETE", f"/api/kernels/{kernel}")).status == 204
        await gateway.kernels.until(kernel, lambda item: item is None)
        await until(lambda: status_of(alice, kernel), 404)


async def test_two_processes_agree_on_a_cull(gateway: Gateway) -> None:
    async with another_process(gateway) as second:
        alice, other = gateway.client("alice"), second.client("alice")
        kernel = await alice.start()
        await until(lambda: other.state(kernel), "idle")
        gateway.service()
        urls = [gateway.url, second.url]
        async with other.channels(kernel) as channels:
            cell = await channels.execute("import time; time.sleep(0.5)")
            await channels.until(says("busy"))
            answer = await GatewayClient("service").seal(urls, kernel, datetime.now(UTC))
            assert answer == Active(answer.last_activity, "busy")
            await channels.result(cell)
            assert await channels.run("print('alive')") == "alive\n"
            await until(lambda: alice.state(kernel), "idle")
            answer = await GatewayClient("service").seal(urls, kernel, datetime.now(UTC))
            assert answer == Sealed()
            reply, text = await channels.result(await channels.execute("1"))
            assert (reply["status"], "had been idle since" in text) == ("error", True)
        assert await alice.state(kernel) == "dead"
        await alice.request("DELETE", f"/api/kernels/{kernel}")


@asynccontextmanager
async def another_process(gateway: Gateway) -> AsyncIterator[Gateway]:
    second = replace(gateway, port=free_port(), process=None)
    await second.start()
    try:
        yield second
    finally:
        await second.stop()


def connections(item: kinds.Object | None) -> int:
    activity = kinds.status_of(item or {}).get("activity") or {}
    return int(activity.get("connections") or 0)


async def status_of(client: Client, kernel: str) -> int:
    return (await client.request("GET", f"/api/kernels/{kernel}")).status


async def until(ask: Callable[[], Awaitable[object]], answer: object) -> None:
    """Until a process that only watches has seen it."""
    async with asyncio.timeout(DEADLINE):
        while await ask() != answer:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # nothing else tells
