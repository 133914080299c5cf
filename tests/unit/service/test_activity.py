"""Asking a gateway, over real HTTP."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from tornado.httpclient import AsyncHTTPClient

from hub_service.gateways.activity import Active, GatewayClient, Sealed, Unknown, Why
from hub_service.kernels.saving import Outcome

MOMENT = datetime(2030, 1, 1, 0, 0, 0, 500, tzinfo=UTC)
CASES = {
    "sealed": (200, {"sealed": True}, Sealed()),
    "busy": (
        409,
        {
            "sealed": False,
            "execution_state": "busy",
            "last_activity": "2030-01-01T00:00:00.000500Z",
        },
        Active(MOMENT, "busy"),
    ),
    "no time given": (409, {"sealed": False, "execution_state": "idle"}, Active(None, "idle")),
    "unknown kernel": (404, {}, Unknown("answers 404")),
    "redirected": (302, {}, Unknown("answers 302")),
    "not said": (200, {}, Unknown("can't be read")),
    "contradiction": (200, {"sealed": False}, Unknown("can't be read")),
    "bad time": (409, {"sealed": False, "last_activity": "soon"}, Unknown("can't be read")),
    "a list": (409, [], Unknown("can't be read")),
}


@asynccontextmanager
async def a_gateway(handler):
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("status", "body", "expected"), CASES.values(), ids=CASES.keys())
async def test_answers(status, body, expected):
    asked = []

    async def handler(request):
        asked.append((request.method, request.path, await request.json(), dict(request.headers)))
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.json_response(body, status=status, headers=headers)

    async with a_gateway(handler) as url:
        answer = await GatewayClient("the-token").seal([url], "id-1", MOMENT)
    if isinstance(expected, Unknown):
        assert isinstance(answer, Unknown)
        assert expected.why in answer.why
    else:
        assert answer == expected
    ((method, path, sent, headers),) = asked
    assert (method, path) == ("POST", "/api/kernels/id-1/cull")
    assert sent == {"idle_before": "2030-01-01T00:00:00.000500Z", "step": "seal"}
    assert headers["Authorization"] == "token the-token"


async def test_a_body_that_is_no_json():
    async def handler(_request):
        return web.Response(body=b"\xff<html>")

    async with a_gateway(handler) as url:
        assert isinstance(await GatewayClient("t").seal([url], "id-1", MOMENT), Unknown)


async def test_no_answer_in_time():
    async def handler(_request):
        await asyncio.Event().wait()

    async with a_gateway(handler) as url:
        answer = await GatewayClient("t", request_timeout=0.1).seal([url], "id-1", MOMENT)
    assert isinstance(answer, Unknown)
    assert "does not answer" in answer.why


async def test_nobody_there():
    answer = await GatewayClient("the-token").seal(["http://127.0.0.1:9"], "id-1", MOMENT)
    assert isinstance(answer, Unknown)
    assert "the-token" not in answer.why


async def test_no_such_host():
    answer = await GatewayClient("t").seal(["http://no-such-host.invalid"], "id-1", MOMENT)
    assert isinstance(answer, Unknown)


async def test_a_connection_that_breaks():
    async def handler(request):
        request.transport.abort()

    async with a_gateway(handler) as url:
        assert isinstance(await GatewayClient("t").seal([url], "id-1", MOMENT), Unknown)


async def test_questions_that_take_long_hold_up_no_others(until):
    held, go_on = [], asyncio.Event()

    async def holding(request):
        held.append(request.path)
        await go_on.wait()
        return web.json_response({"sealed": True})

    async def answering(_request):
        return web.json_response({"sealed": True})

    client = GatewayClient("t")
    async with a_gateway(holding) as slow, a_gateway(answering) as quick:
        asking = [asyncio.create_task(client.seal([slow], f"id-{n}", MOMENT)) for n in range(30)]
        await until(lambda: len(held) == len(asking))
        assert await client.seal([quick], "other", MOMENT) == Sealed()
        # What asks the hub has connections of its own.
        assert (await AsyncHTTPClient().fetch(quick)).code == 200
        go_on.set()
        assert set(await asyncio.gather(*asking)) == {Sealed()}
    client.close()


class Replica:
    """One of a gateway's processes: its answers by step, and what it was asked."""

    def __init__(self, **answers):
        self.answers = answers
        self.steps = []
        self.bodies = []

    async def handle(self, request):
        self.bodies.append(await request.json())
        step = self.bodies[-1]["step"]
        self.steps.append(step)
        status, body = self.answers.get(step, (409, {"sealed": False}))
        return web.json_response(body, status=status)


HELD = (200, {"sealed": False, "held": True})
SEALED = (200, {"sealed": True, "held": False})
BUSY = (409, {"sealed": False, "execution_state": "busy"})


async def seal_at(*replicas, **more):
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(a_gateway(one.handle)) for one in replicas]
        return await GatewayClient("t").seal(urls, "id-1", MOMENT, **more)


async def test_several_hold_before_any_seals():
    first, second = (Replica(hold=HELD, seal=SEALED) for _ in range(2))
    assert await seal_at(first, second) == Sealed()
    assert first.steps == second.steps == ["hold", "seal"]


@pytest.mark.parametrize(
    ("answer", "expected"), [(BUSY, Active), ((404, {}), Unknown)], ids=["busy", "unknown there"]
)
async def test_one_that_does_not_hold_keeps_the_kernel(answer, expected):
    first, second = Replica(hold=HELD, seal=SEALED), Replica(hold=answer)
    assert isinstance(await seal_at(first, second), expected)
    assert first.steps == second.steps == ["hold", "release"]


SAVED = (200, {"saved": {"succeeded": True, "message": "3 variables"}})


async def test_one_of_several_saves_while_all_hold():
    first, second = (Replica(hold=HELD, save=SAVED, seal=SEALED) for _ in range(2))
    why = Why("Idle", "By a rule.")
    assert await seal_at(first, second, why=why, save_within=5) == Sealed(
        Outcome(True, "3 variables")
    )
    assert first.steps == ["hold", "save", "hold", "seal"]
    assert second.steps == ["hold", "hold", "seal"]
    assert second.bodies[-1]["saved"] == {"succeeded": True, "message": "3 variables"}
    assert {(body["reason"], body["message"]) for body in second.bodies} == {("Idle", "By a rule.")}


async def test_who_keeps_the_kernel_while_it_saves_has_it():
    gateway = Replica(hold=HELD, save=SAVED, seal=SEALED)
    answer = await seal_at(gateway, save_within=5, is_kept=lambda: "save" in gateway.steps)
    assert isinstance(answer, Unknown)
    assert gateway.steps == ["hold", "save", "hold", "release"]


@pytest.mark.parametrize(
    ("save", "expected"),
    [(BUSY, Active), ((404, {}), Unknown), ((200, {"saved": {}}), Unknown)],
    ids=["no longer held", "unknown there", "not said"],
)
async def test_a_kernel_that_could_not_be_asked_to_save_is_kept(save, expected):
    gateway = Replica(hold=HELD, save=save, seal=SEALED)
    assert isinstance(await seal_at(gateway, save_within=5), expected)
    assert gateway.steps == ["hold", "save", "release"]


async def test_a_gateway_that_was_told_to_end_it_before_goes_on_with_that():
    gateway = Replica(hold=SEALED, save=SEALED, seal=SEALED)
    assert await seal_at(gateway, save_within=5) == Sealed()
    assert gateway.steps == ["hold", "save", "seal"]
