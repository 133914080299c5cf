"""What the gateway meets in its tests: a hub, clients, a namespace of a real API server.

The hub is stood in for by a server that answers `/user` with the models a JupyterHub gives. Kernels
are in kernels.py.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from jupyter_server.base.zmqhandlers import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
from tornado import httpserver, netutil, web
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from elastic_spawner.gateway.oversize import DEFAULT_LIMIT, SIZE_HEADER
from hub_service import kinds
from hub_service.kube import Cluster

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0
V1 = "v1.kernel.websocket.jupyter.org"
# By default tornado has ten requests wait for each other.
AsyncHTTPClient.configure(None, max_clients=100)


def user_model(name: str, scopes: list[str], **more: Any) -> dict[str, Any]:
    """What a JupyterHub answers at `/hub/api/user`."""
    return {"kind": "user", "name": name, "admin": False, "groups": [], "scopes": scopes, **more}


def server_model(name: str, server: str = "") -> dict[str, Any]:
    """The same for the token of a user's own server."""
    return user_model(
        name,
        [
            f"access:servers!server={name}/{server}",
            f"read:users:activity!user={name}",
            f"users:activity!user={name}",
        ],
    )


def service_model(name: str = "elastic") -> dict[str, Any]:
    return {"kind": "service", "name": name, "admin": False, "scopes": [], "roles": []}


@dataclass
class StandInHub:
    """`GET /hub/api/user`, with tokens to choose. `answer` may hold back or fail a request."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int = 200
    held: asyncio.Event | None = None
    url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[StandInHub]:
        hub = self

        class UserHandler(web.RequestHandler):
            async def get(self) -> None:
                token = self.request.headers["Authorization"].removeprefix("token ")
                hub.asked.append(token)
                if hub.held:
                    await hub.held.wait()
                if hub.status != 200:
                    raise web.HTTPError(hub.status)
                if token not in hub.models:
                    raise web.HTTPError(403)
                self.finish(hub.models[token])

        server = httpserver.HTTPServer(web.Application([("/hub/api/user", UserHandler)]))
        sockets = netutil.bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/hub/api"
        try:
            yield self
        finally:
            server.stop()
            await server.close_all_connections()


async def install_crds(cluster: Cluster) -> None:
    definitions = kinds.Resource(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"
    )
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for body in yaml.safe_load_all(path.read_text()):
            if body and body["kind"] == definitions.kind:
                name = body["metadata"]["name"]
                await cluster.apply(definitions, None, name, body, field_manager="tests")


@asynccontextmanager
async def a_namespace(cluster: Cluster) -> AsyncIterator[str]:
    namespaces = kinds.Resource("", "v1", "namespaces", "Namespace")
    name = f"gateway-{uuid.uuid4().hex[:8]}"
    await cluster.create(namespaces, None, {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await cluster.delete(namespaces, None, name)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


class Client:
    """A notebook server, as far as the gateway can tell."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.authorization = f"token {token}"
        self._headers = {"Authorization": self.authorization} if token else {}
        self._http = AsyncHTTPClient()

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        response = await self._http.fetch(
            self.url + path,
            method=method,
            headers=self._headers,
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            raise_error=False,
            request_timeout=DEADLINE,
        )
        assert response.code != 599, response.error
        return Answer(response.code, json.loads(response.body) if response.body else None)

    async def start(self, name: str = "python", **env: str) -> str:
        answer = await self.request("POST", "/api/kernels", {"name": name, "env": env})
        assert answer.status == 201, answer
        kernel = str(answer.body["id"])
        async with asyncio.timeout(DEADLINE):
            while True:  # on a slow machine it may still be starting
                if "reason" not in (await self.request("GET", f"/api/kernels/{kernel}")).body:
                    return kernel
                await asyncio.sleep(0.1)

    async def until_listed(self, name: str, display_name: str) -> None:
        """Until the gateway's watch has brought a spec, or a change of it."""
        async with asyncio.timeout(DEADLINE):
            while True:
                specs = (await self.request("GET", "/api/kernelspecs")).body["kernelspecs"]
                if name in specs and specs[name]["spec"]["display_name"] == display_name:
                    return

    async def state(self, kernel_id: str) -> str:
        return str((await self.request("GET", f"/api/kernels/{kernel_id}")).body["execution_state"])

    @asynccontextmanager
    async def channels(
        self, kernel_id: str, protocol: str = "", session: str = "", takes: int | None = None
    ) -> AsyncIterator[Channels]:
        """A websocket, with the newer protocol (V1) or the older one.

        takes: bytes of the largest message, which the gateway is told; None: tornado's default.
        """
        url = f"ws{self.url.removeprefix('http')}/api/kernels/{kernel_id}/channels"
        session = session or uuid.uuid4().hex
        size = {} if takes is None else {SIZE_HEADER: str(takes)}
        request = HTTPRequest(f"{url}?session_id={session}", headers=self._headers | size)
        connection = await websocket_connect(
            request,
            subprotocols=[protocol] * bool(protocol),
            max_message_size=takes or DEFAULT_LIMIT,
        )
        assert (connection.selected_subprotocol or "") == protocol
        try:
            yield Channels(connection)
        finally:
            connection.close()


class Channels:
    """A websocket to a kernel. patience: seconds for what is waited for."""

    patience = DEADLINE

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection

    async def send(
        self, kind: str, content: dict[str, Any], channel: str = "shell", note: str = ""
    ) -> str:
        """Send a message with a note in its metadata; its id."""
        message_id = uuid.uuid4().hex
        header = {
            "msg_id": message_id,
            "msg_type": kind,
            "session": "tests",
            "username": "",
            "version": "5.3",
            "date": datetime.now(UTC).isoformat(),
        }
        message = {"header": header, "parent_header": {}, "content": content}
        message["metadata"] = {"note": note}
        if self._connection.selected_subprotocol == V1:
            data = serialize_msg_to_ws_v1(message, channel, lambda part: json.dumps(part).encode())
            await self._connection.write_message(data, binary=True)
        else:
            await self._connection.write_message(
                json.dumps({**message, "channel": channel, "buffers": []})
            )
        return message_id

    async def closed(self) -> int | None:
        """Wait until the gateway has closed the websocket; with which code."""
        while await self._connection.read_message() is not None:
            pass
        return self._connection.close_code

    async def execute(self, code: str) -> str:
        """Send a cell; its message id."""
        return await self.send(
            "execute_request", {"code": code, "silent": False, "allow_stdin": False}
        )

    async def until(self, predicate: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Messages up to and including the first that `predicate` is true of."""
        seen = []
        async with asyncio.timeout(self.patience):
            while True:
                data = await self._connection.read_message()
                assert data is not None, f"closed after {seen}"
                seen.append(_read_v1(data) if isinstance(data, bytes) else json.loads(data))
                if predicate(seen[-1]):
                    return seen

    async def result(self, message_id: str) -> tuple[dict[str, Any], str]:
        """The reply's content and what was printed, once the cell is done."""
        seen: list[dict[str, Any]] = []
        reply, idle = {}, False
        while not (reply and idle):
            seen += await self.until(lambda m: m["parent_header"].get("msg_id") == message_id)
            last = seen[-1]
            if last["msg_type"] == "execute_reply":
                reply = last["content"]
            idle = idle or (
                last["msg_type"] == "status" and last["content"]["execution_state"] == "idle"
            )
        text = shown(seen, message_id)
        return reply, text

    async def run(self, code: str) -> str:
        reply, text = await self.result(await self.execute(code))
        assert reply["status"] == "ok", reply
        return text


def _read_v1(data: bytes) -> dict[str, Any]:
    _, parts = deserialize_msg_from_ws_v1(data)
    header, parent, metadata, content = (json.loads(part) for part in parts[:4])
    return {
        "header": header,
        "msg_type": header["msg_type"],
        "parent_header": parent,
        "metadata": metadata,
        "content": content,
    }


def shown(messages: list[dict[str, Any]], cell: str) -> str:
    """What is printed below a cell after those messages, as notebooks have it."""
    text, clear = "", False
    for message in messages:
        if message["parent_header"].get("msg_id") != cell:
            continue
        if message["msg_type"] == "clear_output":
            clear = message["content"]["wait"]
            text = text if clear else ""
        elif message["msg_type"] == "stream":
            text, clear = ("" if clear else text) + message["content"]["text"], False
    return text


def says(state: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a message is a status with that execution state."""
    return lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == state
