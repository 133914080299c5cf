"""Messages of 50 MB pass to clients that take them; others are told what they don't get to see."""

from __future__ import annotations

import pytest

from elastic_spawner.gateway.oversize import DEFAULT_LIMIT, MAX_LIMIT, limit_of, substitute
from tests.gateway.conftest import Gateway
from tests.gateway.support import V1, Channels

on_gateway = pytest.mark.asyncio(loop_scope="session")

MILLION = 1_000_000
# One message each: the bytes of text shown, and the answer to a request.
SHOW = "from IPython.display import display\ndisplay({{'text/plain': {text}}}, raw=True)"
# As metadata: IPython would take half a minute to compile a cell of that size.
LENGTH_RECEIVED = "print(len(get_ipython().kernel.get_parent()['metadata']['note']))"


@on_gateway
@pytest.mark.parametrize("protocol", ["", V1])
async def test_50_mb_in_one_message(gateway: Gateway, protocol: str) -> None:
    client = gateway.client("ada")
    kernel = await client.start()
    async with client.channels(kernel, protocol, takes=MAX_LIMIT) as channels:
        shown = await display(channels, "'x' * 50_000_000")
        assert shown["content"]["data"]["text/plain"] == "x" * 50 * MILLION

        shown = await display(channels, "'é' * 1_000_000")
        assert shown["content"]["data"]["text/plain"] == "é" * MILLION
        assert shown["channel"] == "iopub" if protocol == "" else True

        cell = {"code": LENGTH_RECEIVED, "silent": False}
        sent = await channels.send("execute_request", cell, note="y" * 50 * MILLION)
        _, length = await channels.result(sent)
        assert length == f"{50 * MILLION}\n"
    await client.request("DELETE", f"/api/kernels/{kernel}")


@on_gateway
@pytest.mark.parametrize("protocol", ["", V1])
async def test_a_client_is_told_what_is_too_large_for_it(gateway: Gateway, protocol: str) -> None:
    client = gateway.client("ada")
    kernel = await client.start()
    async with client.channels(kernel, protocol) as channels:
        told = await display(channels, "'x' * 50_000_000")
        assert told["msg_type"] == "stream"
        assert told["content"]["name"] == "stderr"
        assert "An output of 50.0 MB is not shown" in told["content"]["text"]
        assert "takes 10.5 MB" in told["content"]["text"]

        asked = await channels.send("complete_request", {"code": "import " + "z" * 100})
        await channels.until(lambda m: m["parent_header"].get("msg_id") == asked)
        big = {"code": "", "silent": False, "user_expressions": {"all": "'x' * 50_000_000"}}
        reply, _ = await channels.result(await channels.send("execute_request", big))
        assert reply["ename"] == "MessageTooLarge"

        assert await channels.run("print('goes on')") == "goes on\n"
    await client.request("DELETE", f"/api/kernels/{kernel}")


def test_what_a_client_takes() -> None:
    assert limit_of({}) == DEFAULT_LIMIT
    assert limit_of({"Elastic-Max-Message-Size": "20000000"}) == 20_000_000
    assert limit_of({"Elastic-Max-Message-Size": "900000000"}) == MAX_LIMIT
    assert limit_of({"Elastic-Max-Message-Size": "-1"}) == DEFAULT_LIMIT


def test_a_question_that_is_too_long_is_still_asked() -> None:
    kind, content = substitute("stdin", "input_request", 60_000_000, DEFAULT_LIMIT)

    assert kind == "input_request"
    assert content["prompt"].startswith("A question of 60.0 MB is not shown")


async def display(channels: Channels, expression: str) -> dict[str, object]:
    """What is shown of a cell that displays the text."""
    message_id = await channels.execute(SHOW.format(text=expression))
    seen = await channels.until(
        lambda m: (
            m["parent_header"].get("msg_id") == message_id
            and m["msg_type"] in ("display_data", "stream")
        )
    )
    await channels.until(
        lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "idle"
    )
    return seen[-1]
