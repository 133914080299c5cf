"""The delivered file in a real jupyter_server, against a stand-in for the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import runpy
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tornado import httpserver, netutil, web, websocket
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from hub_service import notebook_config

SECONDS = 60.0
SOURCE = Path(notebook_config.__file__).with_name("jupyter_server_config.py")
KERNEL = "11111111-2222-3333-4444-555555555555"
SESSION = {"id": "1-2-3-4-5", "path": "work/digits.ipynb", "name": "digits", "type": "notebook"}
LARGE = 50_000_000


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

            def open(self, kernel_id: str) -> None:
                gateway.takes.append(self.request.headers.get("Elastic-Max-Message-Size"))

            async def on_message(self, message: str | bytes) -> None:
                gateway.heard.put_nowait(message)
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
async def a_server(gateway: Gateway, folder: Path, address: str = "") -> AsyncIterator[Server]:
    """A server whose gateway is there, or is to be at an address later."""
    service = httpserver.HTTPServer(gateway.application(), max_buffer_size=4 * LARGE)
    if not address:
        (listening,) = netutil.bind_sockets(0, "127.0.0.1")
        service.add_sockets([listening])
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    (folder / "home").mkdir()
    (folder / "config").mkdir()
    shutil.copy(SOURCE, folder / "config")
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
