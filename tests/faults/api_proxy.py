"""Stands between the cluster's pods and its API server, and misbehaves when asked to.

Pods reach the API server by the address of the service `kubernetes`; a rule in the local cluster's
network namespace leads them here instead, where TLS ends with the API server's own certificate.
The node's programs and the suite itself go to the API server directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
from aiohttp import web

from localcluster.console import command
from localcluster.layout import Cluster

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade"}
)
_EXPIRED = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version",
        "reason": "Expired",
        "code": 410,
    },
}
_REFUSALS = ((500, "InternalError"), (503, "ServiceUnavailable"), (429, "TooManyRequests"))


class ApiProxy:
    """Passes everything on as it is, but for the fault that is on."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, rng: random.Random) -> None:
        self._upstream = upstream
        self._session = session
        self._rng = rng
        self._delay = 0.0
        self._failing = 0.0
        self._connections: set[asyncio.Transport] = set()
        self._watches: dict[asyncio.Transport, str] = {}
        self._silent: set[asyncio.Transport] = set()
        self._expired: list[str] = []

    # -- faults

    def cut_watches(self) -> int:
        """Break off every watch in the middle; returns how many there were."""
        watches = list(self._watches)
        for transport in watches:
            transport.abort()
        return len(watches)

    def expire_watches(self) -> int:
        """Break off every watch, and answer 410 where it is taken up again."""
        self._expired = list(self._watches.values())
        return self.cut_watches()

    def fall_silent(self) -> int:
        """From now on no byte comes over the connections that are open, which stay open."""
        self._silent |= self._connections
        return len(self._watches)

    def answer_badly(self, *, delay: float = 0.0, failing: float = 0.0) -> None:
        """From now on every answer takes longer by `delay` seconds, and a share of them fail.

        Half of those that fail are carried out nevertheless.
        """
        self._delay = delay
        self._failing = failing

    # -- passing on

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request of a pod."""
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            raise web.HTTPBadGateway  # it is closed already
        self._connections.add(transport)
        if transport in self._silent:
            await _for_ever()
        key = f"{request.remote} {request.path}?{request.query.get('labelSelector', '')}"
        is_watch = request.query.get("watch") in ("true", "1")
        if is_watch and key in self._expired:
            self._expired.remove(key)
            return web.Response(text=json.dumps(_EXPIRED) + "\n", content_type="application/json")
        await asyncio.sleep(self._delay)
        fails = self._rng.random() < self._failing
        if fails and self._rng.random() < 0.5:
            return self._refusal(transport)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._pass_websocket_on(request)
        body = await request.read()
        async with self._session.request(
            request.method,
            self._upstream + request.raw_path,
            headers=_end_to_end(request.headers),
            data=body or None,
            allow_redirects=False,
        ) as answer:
            if fails and not is_watch:
                await answer.read()
                return self._refusal(transport)
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
            response.content_length = answer.content_length
            if is_watch:
                self._watches[transport] = key
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    if transport in self._silent:
                        await _for_ever()
                    await response.write(chunk)
                await response.write_eof()
            finally:
                self._watches.pop(transport, None)
            return response

    def forget_closed(self) -> None:
        """Let go of connections that have ended."""
        for transports in (self._connections, self._silent):
            transports -= {transport for transport in transports if transport.is_closing()}

    def _refusal(self, transport: asyncio.Transport) -> web.Response:
        status, reason = self._rng.choice([*_REFUSALS, (0, "")])
        if not status:
            transport.abort()
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": "the fault suite answers in the API server's place",
            "code": status,
        }
        return web.json_response(body, status=status or 500)

    async def _pass_websocket_on(self, request: web.Request) -> web.WebSocketResponse:
        wanted = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [word.strip() for word in wanted.split(",") if word.strip()]
        headers = {"Authorization": request.headers.get("Authorization", "")}
        async with self._session.ws_connect(
            self._upstream + request.raw_path, protocols=protocols, headers=headers
        ) as server:
            client = web.WebSocketResponse(protocols=[server.protocol] if server.protocol else ())
            await client.prepare(request)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(client, server))
                group.create_task(_copy(server, client))
            return client


@contextlib.asynccontextmanager
async def proxied(cluster: Cluster, init: int, rng: random.Random) -> AsyncIterator[ApiProxy]:
    """Lead the pods of a local cluster through a proxy for as long as the block lasts.

    init: process 1 of the cluster's namespaces. Connections that are there already stay direct.
    """
    pki = cluster.run / "pki"
    inside = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outside.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=inside, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                auto_decompress=False,
            )
        )
        proxy = ApiProxy(f"https://{cluster.node_address}:6443", session, rng)
        application = web.Application(middlewares=[_unreachable], client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", proxy.answer)
        # A pod that hangs up ends what was asked for it.
        runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=1
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, cluster.host_address, 0, ssl_context=outside)
        await site.start()
        port = runner.addresses[0][1]
        stack.enter_context(_led_to(cluster, init, f"{cluster.host_address}:{port}"))
        yield proxy


@web.middleware
async def _unreachable(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """An API server that isn't there looks so: the connection is closed."""
    try:
        return await handler(request)
    except aiohttp.ClientError:
        if request.transport is not None:
            request.transport.abort()
        raise web.HTTPBadGateway from None


@contextlib.contextmanager
def _led_to(cluster: Cluster, init: int, address: str) -> Iterator[None]:
    rule = (
        "PREROUTING", "-d", cluster.api_service, "-p", "tcp", "--dport", "443",
        "-j", "DNAT", "--to-destination", address,
    )  # fmt: skip
    iptables = ("nsenter", f"--target={init}", "--net", "iptables", "--wait", "--table", "nat")
    command(*iptables, "--insert", *rule)
    try:
        yield
    finally:
        command(*iptables, "--delete", *rule)


def _end_to_end(headers: object) -> dict[str, str]:
    assert hasattr(headers, "items")
    return {name: text for name, text in headers.items() if name.lower() not in _HOP_BY_HOP}


async def _copy(
    source: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
    sink: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
) -> None:
    async for frame in source:
        if frame.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(frame.data)
        elif frame.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(frame.data)
    await sink.close()


async def _for_ever() -> None:
    await asyncio.Event().wait()
