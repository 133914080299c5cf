"""Starts that take longer than their POST is held: what notebooks see of them meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub_service.kinds import JUPYTER_GATEWAYS, JUPYTER_KERNELS
from tests.gateway.conftest import Gateway
from tests.gateway.support import DEADLINE, V1, Client, says, shown

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def waiting(gateway: Gateway, owner: str) -> AsyncIterator[tuple[Client, str, asyncio.Event]]:
    """A kernel in line; what is yielded last lets it through."""
    client = gateway.client(owner)
    gate = gateway.kernels.gates[owner] = asyncio.Event()
    answer = await client.request("POST", "/api/kernels", {"name": "python"})
    assert answer.status == 201, answer
    assert answer.body["execution_state"] == "starting"
    assert answer.body["reason"] == "Waiting for a GPU."
    kernel = str(answer.body["id"])
    try:
        yield client, kernel, gate
    finally:
        gate.set()
        await client.request("DELETE", f"/api/kernels/{kernel}")
        del gateway.kernels.gates[owner]


@pytest.mark.parametrize("protocol", ["", V1])
async def test_cells_of_a_waiting_kernel_say_why_and_run_in_order(
    gateway: Gateway, protocol: str
) -> None:
    async with (
        waiting(gateway, "ann") as (ann, kernel, gate),
        ann.channels(kernel, protocol) as channels,
    ):
        asked = await channels.send("kernel_info_request", {})
        first = await channels.execute("print('one'); x = 2")
        second = await channels.execute("print(x)")
        seen = await channels.until(lambda m: m["msg_type"] == "stream")
        assert seen[0]["content"] == {"execution_state": "starting"}
        assert shown(seen, first) == "Waiting for a GPU.\n"

        item = gateway.kernels.of(kernel)
        await gateway.kernels.waits(item, "Waiting for a GPU, next in line.")
        seen += await channels.until(lambda m: m["msg_type"] == "stream")
        assert shown(seen, first) == "Waiting for a GPU, next in line.\n"
        model = (await ann.request("GET", f"/api/kernels/{kernel}")).body
        assert model["reason"] == "Waiting for a GPU, next in line."

        gate.set()
        seen += await channels.until(
            lambda m: says("idle")(m) and m["parent_header"].get("msg_id") == second
        )
        assert shown(seen, first) == "one\n"
        assert shown(seen, second) == "2\n"
        (reply,) = [m for m in seen if m["msg_type"] == "kernel_info_reply"]
        assert reply["parent_header"]["msg_id"] == asked
        assert reply["content"]["implementation"] == "ipython"
        model = (await ann.request("GET", f"/api/kernels/{kernel}")).body
        assert "reason" not in model


async def test_who_keeps_asking_a_waiting_kernel_hears_something(gateway: Gateway) -> None:
    async with (
        waiting(gateway, "bea") as (bea, kernel, _),
        bea.channels(kernel) as channels,
    ):
        for _ in range(2):
            await channels.send("kernel_info_request", {})
        third = await channels.send("kernel_info_request", {})

        seen = await channels.until(lambda m: m["msg_type"] == "kernel_info_reply")

        assert seen[-1]["parent_header"]["msg_id"] == third
        assert seen[-1]["content"]["language_info"]["name"] == "python"
        await channels.until(says("starting"))


async def test_what_can_be_asked_of_a_waiting_kernel(gateway: Gateway) -> None:
    async with (
        waiting(gateway, "cleo") as (cleo, kernel, _),
        cleo.channels(kernel) as channels,
    ):
        answer = await cleo.request("POST", f"/api/kernels/{kernel}/interrupt")
        assert (answer.status, answer.body["reason"]) == (409, "KernelStarting")
        assert "Waiting for a GPU." in answer.body["message"]
        cells = [await channels.execute(str(number)) for number in range(2)]

        answer = await cleo.request("POST", f"/api/kernels/{kernel}/restart")

        assert (answer.status, answer.body["execution_state"]) == (200, "starting")
        assert gateway.kernels.of(kernel)["spec"]["incarnation"] == 0
        replies = [(await channels.result(cell))[0]["status"] for cell in cells]
        assert replies == ["aborted", "aborted"]
        cell = await channels.execute("1")

        assert (await cleo.request("DELETE", f"/api/kernels/{kernel}")).status == 204

        await gateway.kernels.until(kernel, lambda item: item is None)
        reply, text = await channels.result(cell)
        assert (reply["status"], "shut down" in text) == ("error", True)
        assert (await cleo.request("GET", f"/api/kernels/{kernel}")).status == 404


async def test_a_start_that_fails_late_says_so_in_its_first_cell(gateway: Gateway) -> None:
    async with (
        waiting(gateway, "dora") as (dora, kernel, gate),
        dora.channels(kernel) as channels,
    ):
        cells = [await channels.execute(str(number)) for number in range(2)]
        gateway.kernels.deadlines["dora"] = "No node is large enough."
        gate.set()

        seen = await channels.until(says("dead"))

        assert shown(seen, cells[0]) == "TooLarge: No node is large enough.\n"
        replies = [m["content"]["status"] for m in seen if m["msg_type"] == "execute_reply"]
        assert replies == ["error", "aborted"]
        model = (await dora.request("GET", f"/api/kernels/{kernel}")).body
        assert model["execution_state"] == "dead"
        assert model["reason"] == "TooLarge: No node is large enough."
        await gateway.kernels.until(kernel, lambda item: item is None)


@pytest.mark.parametrize("runs", [False, True], ids=["waits", "runs by then"])
async def test_a_start_that_no_notebook_is_connected_to_ends(gateway: Gateway, runs: bool) -> None:
    def grace(seconds: int | None) -> Coroutine[Any, Any, object]:
        body = {"spec": {"startGrace": seconds}}
        return gateway.cluster.merge_patch(JUPYTER_GATEWAYS, gateway.namespace, "shared", body)

    await grace(5)
    async with waiting(gateway, "eve") as (eve, kernel, gate):
        await grace(None)
        if runs:
            gate.set()
            await gateway.kernels.until(
                kernel,
                lambda i: (
                    (i or {}).get("status", {}).get("activity", {}).get("executionState") == "idle"
                ),
            )
        await gateway.kernels.until(kernel, lambda item: item is None)
        model = (await eve.request("GET", f"/api/kernels/{kernel}")).body
        assert model["execution_state"] == "dead"
        assert "no notebook was connected to it" in model["reason"]


async def test_a_kernel_that_is_shut_down_while_its_start_is_awaited(gateway: Gateway) -> None:
    fay = gateway.client("fay")
    gate = gateway.kernels.gates["fay"] = asyncio.Event()
    started = asyncio.create_task(fay.request("POST", "/api/kernels", {"name": "python"}))
    try:
        mine: list[str] = []
        while not mine and not started.done():
            listed = await gateway.cluster.list(JUPYTER_KERNELS, gateway.namespace)
            specs = [item["spec"] for item in listed["items"]]
            mine = [spec["kernelID"] for spec in specs if spec["owner"] == "fay"]
        await fay.request("DELETE", f"/api/kernels/{mine[0]}")
        answer = await started
    finally:
        gate.set()
        del gateway.kernels.gates["fay"]
    assert (answer.status, answer.body["reason"]) == (410, "KernelDeleted")
    assert answer.body["message"] == "The kernel was shut down while it started."


async def test_thirty_kernels_start_at_once_beside_one_that_waits(gateway: Gateway) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    posted: list[float] = []
    people = [gateway.client(f"person-{number}") for number in range(30)]

    async def work(person: Client) -> tuple[str, str]:
        answer = await person.request("POST", "/api/kernels", {"name": "python"})
        assert answer.status == 201, answer
        posted.append(clock() - began)
        async with person.channels(answer.body["id"]) as channels:
            channels.patience = 5 * DEADLINE
            return answer.body["id"], await channels.run("print('up')")

    for person in people:
        await person.request("GET", "/api/kernels")  # the hub is asked once, whose token it is
    async with waiting(gateway, "patient") as (patient, waits, _), patient.channels(waits):
        began = clock()
        results = await asyncio.gather(*(work(person) for person in people))
        took = clock() - began
        assert await patient.state(waits) == "starting"
    assert [printed for _, printed in results] == ["up\n"] * 30
    print(
        f"30 kernels beside one that waits: all requests answered after {max(posted):.1f} s, all "
        f"cells run after {took:.1f} s"
    )
    ended = await asyncio.gather(
        *(
            person.request("DELETE", f"/api/kernels/{kernel}")
            for person, (kernel, _) in zip(people, results, strict=True)
        )
    )
    assert [answer.status for answer in ended] == [204] * 30
