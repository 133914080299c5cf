"""The delivered file in a real jupyter_server, against a stand-in for the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tornado import httpserver, netutil, web, websocket
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from hub_service.notebooks import notebook_config

SECONDS = 60.0
SOURCE = Path(notebook_config.__file__).with_name("jupyter_server_config.py")
KERNEL = "11111111-2222-3333-4444-555555555555"
SESSION = {"id": "1-2-3-4-5", "path": "work/digits.ipynb", "name": "digits", "type": "notebook"}
LARGE = 50_000_000
PING = "PING_SECONDS = 35.0"


def kernel(kernel_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": kernel_id,
        "name": "python",
        "last_activity": "2026-05-01T12:00:00.000000Z",
        "execution_state": "idle",
        "connections": 0,
        **more,
    }


class Gateway:
    """Answers a notebook server, and remembers what it was asked."""

    def __init__(self) -> None:
        self.kernels = [
            kernel(KERNEL, server="", sessions=[SESSION]),
            kernel("22222222-2222-3333-4444-555555555555", server="other"),
            kernel("33333333-2222-3333-4444-555555555555", server="", execution_state="dead"),
        ]
        self.deleted: list[str] = []
        self.kept: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.takes: list[str | None] = []
        self.heard: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.echoes = True
        self.hangs = False
        self.open: list[websocket.WebSocketHandler] = []
        self.turned_away = False
        self.asked_in_vain = asyncio.Event()

    def say(self, message: str) -> None:
        """Send to the notebook server, by the connection that it opened last."""
        self.open[-1].write_message(message)

    def hang_up(self) -> None:
        """Close the connection."""
        self.open.pop().close()

    def application(self) -> web.Application:
        gateway = self

        class Kernels(web.RequestHandler):
            def get(self) -> None:
                self.finish(json.dumps(gateway.kernels))

            def post(self) -> None:
                self.set_status(403)
                self.finish({"message": "Kernel quota reached.", "reason": "QuotaExceeded"})

        class Kernel(web.RequestHandler):
            def get(self, kernel_id: str) -> None:
                found = [model for model in gateway.kernels if model["id"] == kernel_id]
                if not found:
                    raise web.HTTPError(404)
                self.finish(found[0])

            def delete(self, kernel_id: str) -> None:
                gateway.deleted.append(kernel_id)
                self.set_status(204)

        class Sessions(web.RequestHandler):
            def put(self, kernel_id: str) -> None:
                gateway.kept.put_nowait((kernel_id, json.loads(self.request.body)))
                self.set_status(204)

        class Channels(websocket.WebSocketHandler):
            max_message_size = 2 * LARGE  # type: ignore[assignment]

            def prepare(self) -> None:
                if gateway.turned_away:
                    gateway.asked_in_vain.set()
                    raise web.HTTPError(503)
                if self.path_args[0] not in [model["id"] for model in gateway.kernels]:
                    raise web.HTTPError(404)

            def open(self, kernel_id: str) -> None:
                gateway.open.append(self)
                gateway.takes.append(self.request.headers.get("Elastic-Max-Message-Size"))

            async def on_message(self, message: str | bytes) -> None:
                gateway.heard.put_nowait(message)
                if gateway.hangs:
                    gateway.hangs = False
                    await asyncio.Event().wait()  # reads nothing any more, pings included
                if gateway.echoes:
                    await self.write_message(message, binary=isinstance(message, bytes))

        return web.Application(
            [
                ("/api/kernels", Kernels),
                ("/api/kernels/([^/]+)", Kernel),
                ("/api/kernels/([^/]+)/sessions", Sessions),
                ("/api/kernels/([^/]+)/channels", Channels),
            ]
        )


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


class Server:
    """A jupyter_server process with the file where the pod would have it."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self._log: list[str] = []
        self._written = asyncio.Condition()

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._written:
                self._log.append(line.decode())
                self._written.notify_all()

    async def logged(self, text: str) -> None:
        """Wait until the server has said so."""
        async with asyncio.timeout(SECONDS), self._written:
            await self._written.wait_for(lambda: any(text in line for line in self._log))

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        response = await AsyncHTTPClient().fetch(
            self.url + path,
            method=method,
            body=None if body is None else json.dumps(body),
            raise_error=False,
            request_timeout=SECONDS,
        )
        return response.code, json.loads(response.body) if response.body else None

    async def ready(self) -> None:
        async with asyncio.timeout(SECONDS):
            while self.process.returncode is None:
                with contextlib.suppress(OSError):
                    if (await self.request("GET", "/api"))[0] == 200:
                        return
                await asyncio.sleep(0.1)  # nothing else tells that a process listens
        raise AssertionError(f"the server ended with {self.process.returncode}")


@contextlib.asynccontextmanager
async def a_server(
    gateway: Gateway, folder: Path, address: str = "", ping: float | None = None
) -> AsyncIterator[Server]:
    """A server whose gateway is there, or is to be at an address later.

    ping: seconds between two pings, if not as it is delivered.
    """
    service = httpserver.HTTPServer(gateway.application(), max_buffer_size=4 * LARGE)
    if not address:
        (listening,) = netutil.bind_sockets(0, "127.0.0.1")
        service.add_sockets([listening])
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    (folder / "home").mkdir()
    (folder / "config").mkdir()
    text = SOURCE.read_text()
    assert PING in text
    delivered = text if ping is None else text.replace(PING, f"PING_SECONDS = {ping}")
    (folder / "config" / SOURCE.name).write_text(delivered)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(os.environ.get("TEST_NOTEBOOK_PYTHON", sys.executable), "-m", "jupyter_server"),
        *("--allow-root", "--no-browser", "--ServerApp.token=", "--ServerApp.password="),
        *(f"--ServerApp.port={port}", "--ServerApp.disable_check_xsrf=True"),
        cwd=folder / "home",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "JUPYTER_CONFIG_PATH": str(folder / "config"),
            "JUPYTER_GATEWAY_URL": address,
            "JUPYTER_GATEWAY_AUTH_TOKEN": "t",
            "JUPYTERHUB_SERVER_NAME": "",
        },
        stderr=asyncio.subprocess.PIPE,
        limit=2 * LARGE,
    )
    server = Server(port, process)
    reading = asyncio.create_task(server.read_log())
    try:
        await server.ready()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
        service.stop()
        await service.close_all_connections()


def test_a_small_server_takes_smaller_messages(tmp_path: Path) -> None:
    loaded = runpy.run_path(str(SOURCE))
    for text, size in (
        ("max\n", 100_000_000),
        (f"{1 << 40}\n", 100_000_000),
        ("512000000\n", 64_000_000),
        ("64000000\n", 10 * 1024 * 1024),
    ):
        (tmp_path / "limit").write_text(text)
        assert loaded["message_size"]((str(tmp_path / "none"), str(tmp_path / "limit"))) == size


async def test_the_kernels_of_an_earlier_server(gateway: Gateway, tmp_path: Path) -> None:
    async with a_server(gateway, tmp_path) as server:
        _, found = await server.request("GET", "/api/sessions")
        assert [session["id"] for session in found] == [SESSION["id"]]
        assert found[0]["kernel"]["id"] == KERNEL
        assert [model["id"] for model in (await server.request("GET", "/api/kernels"))[1]] == [
            KERNEL
        ]

        opened = {**SESSION, "kernel": {"name": "python"}}
        _, again = await server.request("POST", "/api/sessions", opened)
        assert (again["id"], again["kernel"]["id"]) == (SESSION["id"], KERNEL)

        renamed = {"path": "work/numbers.ipynb"}
        await server.request("PATCH", f"/api/sessions/{SESSION['id']}", renamed)
        async with asyncio.timeout(SECONDS):
            assert await gateway.kept.get() == (KERNEL, {"sessions": [SESSION | renamed]})

        for path, body in (
            ("/api/kernels", {"name": "python"}),
            ("/api/sessions", {**opened, "path": "other.ipynb"}),
        ):
            _, refused = await server.request("POST", path, body)
            assert refused["message"] == "Kernel quota reached."

        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), SECONDS) == 0
    assert gateway.deleted == []


async def test_a_start_waits_for_a_gateway_that_comes_back(
    gateway: Gateway, tmp_path: Path
) -> None:
    with socket.socket() as bound:  # and not listening: whoever connects is refused
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with a_server(gateway, tmp_path, address) as server:
            starting = asyncio.create_task(
                server.request("POST", "/api/kernels", {"name": "python"})
            )
            await server.logged("the gateway can't be reached")
            bound.listen()
            service = httpserver.HTTPServer(gateway.application())
            service.add_sockets([bound])
            try:
                status, answer = await asyncio.wait_for(starting, SECONDS)
            finally:
                service.stop()
                await service.close_all_connections()
    assert (status, answer["message"]) == (403, "Kernel quota reached.")


async def test_shutting_a_kernel_down_does_so(gateway: Gateway, tmp_path: Path) -> None:
    async with a_server(gateway, tmp_path) as server:
        await server.request("GET", "/api/kernels")
        assert (await server.request("DELETE", f"/api/kernels/{KERNEL}"))[0] == 204
    assert gateway.deleted == [KERNEL]


async def test_large_and_binary_messages(gateway: Gateway, tmp_path: Path) -> None:
    async with a_server(gateway, tmp_path) as server:
        await server.request("GET", "/api/kernels")
        url = f"ws{server.url.removeprefix('http')}/api/kernels/{KERNEL}/channels?session_id=s"
        browser = await websocket.websocket_connect(HTTPRequest(url), max_message_size=2 * LARGE)
        async with asyncio.timeout(SECONDS):
            for message in ("x" * LARGE, b"\xff\x00" * 1000, "still there"):
                await browser.write_message(message, binary=isinstance(message, bytes))
                assert await gateway.heard.get() == message
                assert await browser.read_message() == message
        browser.close()
    assert gateway.takes == ["100000000"]


def request(kind: str = "execute_request", channel: str = "shell", **header: str) -> dict[str, Any]:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "s", **header}
    return {"header": header, "parent_header": {}, "content": {}, "channel": channel}


def answer_to(parent: Any, kind: str, channel: str = "shell", **content: Any) -> str:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind}
    return json.dumps(
        {"header": header, "parent_header": parent, "content": content, "channel": channel}
    )


class Lost:
    """A notebook server and its browser, whose gateway can be taken away."""

    def __init__(self, gateway: Gateway, browser: websocket.WebSocketClientConnection) -> None:
        self.gateway, self.browser = gateway, browser

    async def ask(self, message: dict[str, Any] | None = None) -> dict[str, Any]:
        message = message or request()
        await self.browser.write_message(json.dumps(message))
        return message

    async def gateway_hears(self) -> Any:
        async with asyncio.timeout(SECONDS):
            return json.loads(await self.gateway.heard.get())

    async def browser_has(self, parent: Any, *kinds: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(SECONDS):
            seen = []
            for kind in kinds:
                text = await self.browser.read_message()
                assert text is not None
                seen.append(json.loads(text))
                assert (seen[-1]["header"]["msg_type"], seen[-1]["parent_header"]) == (kind, parent)
            return seen


@pytest.fixture
async def lost(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Lost]:
    gateway.echoes = False
    async with a_server(gateway, tmp_path) as server:
        await server.request("GET", "/api/kernels")
        url = f"ws{server.url.removeprefix('http')}/api/kernels/{KERNEL}/channels?session_id=s"
        browser = await websocket.websocket_connect(HTTPRequest(url))
        yield Lost(gateway, browser)
        browser.close()


async def test_a_gateway_that_is_lost_without_a_word_is_noticed(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.echoes, gateway.hangs = False, True
    async with a_server(gateway, tmp_path, ping=0.5) as server:
        await server.request("GET", "/api/kernels")
        url = f"ws{server.url.removeprefix('http')}/api/kernels/{KERNEL}/channels?session_id=s"
        browser = await websocket.websocket_connect(HTTPRequest(url))
        lost = Lost(gateway, browser)
        cell = await lost.ask()
        assert await lost.gateway_hears() == cell
        probe = await lost.gateway_hears()  # by another connection
        assert probe["header"]["msg_type"] == "kernel_info_request"
        lost.gateway.say(answer_to(cell["header"], "execute_reply", status="ok"))
        await lost.browser_has(cell["header"], "execute_reply")
        browser.close()


async def test_a_cell_whose_end_nobody_heard_is_ended(lost: Lost) -> None:
    cell, unseen = await lost.ask(), await lost.ask()
    assert [await lost.gateway_hears(), await lost.gateway_hears()] == [cell, unseen]
    lost.gateway.say(answer_to(cell["header"], "status", "iopub", execution_state="busy"))
    await lost.browser_has(cell["header"], "status")
    lost.gateway.hang_up()

    probe = await lost.gateway_hears()
    assert probe["header"]["msg_type"] == "kernel_info_request"
    lost.gateway.say(answer_to(probe["header"], "status", "iopub", execution_state="busy"))
    lost.gateway.say(answer_to(probe["header"], "kernel_info_reply"))

    kinds = ("stream", "execute_reply", "status")
    said, reply, idle = await lost.browser_has(cell["header"], *kinds)
    assert "what it printed and returned meanwhile is lost" in said["content"]["text"]
    assert (reply["content"]["status"], reply["channel"]) == ("error", "shell")
    assert idle["content"] == {"execution_state": "idle"}
    said, *_ = await lost.browser_has(unseen["header"], *kinds)
    assert "Whether it has run is not known" in said["content"]["text"]


async def test_an_answer_that_comes_is_the_only_one(lost: Lost) -> None:
    cell = await lost.ask()
    await lost.gateway_hears()
    lost.gateway.hang_up()
    probe = await lost.gateway_hears()
    lost.gateway.say(answer_to(cell["header"], "execute_reply", status="ok"))
    lost.gateway.say(answer_to(probe["header"], "kernel_info_reply"))
    later = await lost.ask()
    await lost.gateway_hears()
    lost.gateway.say(answer_to(later["header"], "execute_reply", status="ok"))

    (reply,) = await lost.browser_has(cell["header"], "execute_reply")
    assert reply["content"] == {"status": "ok"}
    await lost.browser_has(later["header"], "execute_reply")


async def test_what_is_sent_while_the_gateway_is_away_follows(lost: Lost) -> None:
    first = await lost.ask()
    await lost.gateway_hears()
    lost.gateway.turned_away = True
    lost.gateway.hang_up()
    async with asyncio.timeout(SECONDS):
        await lost.gateway.asked_in_vain.wait()
    second, third = await lost.ask(), await lost.ask()
    lost.gateway.turned_away = False
    probe = await lost.gateway_hears()
    assert probe["header"]["msg_type"] == "kernel_info_request"
    # A start that goes on: nothing of what was sent to the lost gateway has reached the kernel.
    lost.gateway.say(answer_to({}, "status", "iopub", execution_state="starting"))
    for cell in (first, second, third):
        assert await lost.gateway_hears() == cell
        lost.gateway.say(answer_to(cell["header"], "execute_reply", status="ok"))
    await lost.browser_has({}, "status")
    for cell in (first, second, third):
        await lost.browser_has(cell["header"], "execute_reply")


async def test_a_kernel_that_is_gone_ends_its_cells(lost: Lost) -> None:
    cell = await lost.ask()
    await lost.gateway_hears()
    lost.gateway.kernels.clear()
    lost.gateway.hang_up()
    said, *_ = await lost.browser_has(cell["header"], "stream", "execute_reply", "status")
    assert "has ended" in said["content"]["text"]
    (dead,) = await lost.browser_has({}, "status")
    assert dead["content"]["execution_state"] == "dead"
