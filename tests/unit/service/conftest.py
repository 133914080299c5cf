"""An API server in miniature, served over real HTTP, that can misbehave as real ones do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from aiohttp import web

from hub_service.kube import Cluster


@dataclass(frozen=True)
class Thing:
    """A kind for tests."""

    group: str = "test.example"
    version: str = "v1"
    plural: str = "things"
    kind: str = "Thing"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Return once the condition holds; fail after the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is of all kinds
            await asyncio.sleep(0.005)


class ApiServer:
    """Lists and watches one kind. Tests change objects, and make requests fail."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict] = {}
        self.history: list[tuple[int, dict]] = []
        self.compacted = 0
        self.lists = 0
        self.watches_from: list[str] = []
        self.refusals: list[tuple[int, dict]] = []  # for the next requests, whatever they are
        self.expired_as_event = True
        self.silent = False
        self.requests: list[tuple[str, str, dict, dict]] = []
        self._streams: set[web.StreamResponse] = set()
        self._transports: set[asyncio.Transport] = set()
        self._wake: set[asyncio.Event] = set()

    @property
    def watchers(self) -> int:
        return len(self._streams)

    def put(self, name: str, **spec) -> dict:
        self.version += 1
        item = {
            "apiVersion": "test.example/v1",
            "kind": "Thing",
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"uid-{name}",
                "resourceVersion": str(self.version),
            },
            "spec": spec,
        }
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.objects[name] = item
        self._record(kind, item)
        return item

    def remove(self, name: str) -> None:
        self.version += 1
        item = json.loads(json.dumps(self.objects.pop(name)))
        item["metadata"]["resourceVersion"] = str(self.version)
        self._record("DELETED", item)

    def bookmark(self, version: int) -> None:
        self.version = max(self.version, version)
        item = {"kind": "Thing", "metadata": {"resourceVersion": str(version)}}
        self._record("BOOKMARK", item)

    def forget_history(self) -> None:
        """What happened so far can't be watched any more."""
        self.compacted = self.version
        self.history.clear()

    def disconnect(self) -> None:
        for transport in list(self._transports):
            transport.abort()

    async def end_watches(self) -> None:
        """End the streams properly, as the server does when their time is over."""
        for stream in list(self._streams):
            await stream.write_eof()
        self.disconnect()

    async def send(self, raw: bytes) -> None:
        for stream in list(self._streams):
            await stream.write(raw)

    def _record(self, kind: str, item: dict) -> None:
        self.history.append(
            (int(item["metadata"]["resourceVersion"]), {"type": kind, "object": item})
        )
        for event in self._wake:
            event.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        self.requests.append((request.method, request.path, dict(request.query), body))
        if self.refusals:
            status, answer = self.refusals.pop(0)
            return web.json_response(answer, status=status)
        if request.method != "GET":
            return web.json_response({"kind": "Thing", "metadata": {}, "sent": body})
        if request.query.get("watch") == "true":
            return await self._watch(request)
        self.lists += 1
        items = [
            {k: v for k, v in o.items() if k not in ("kind", "apiVersion")}
            for o in self.objects.values()
        ]
        return web.json_response(
            {
                "kind": "ThingList",
                "metadata": {"resourceVersion": str(self.version)},
                "items": items,
            }
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        start = request.query["resourceVersion"]
        self.watches_from.append(start)
        expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        if int(start) < self.compacted and not self.expired_as_event:
            return web.json_response(expired, status=410)
        stream = web.StreamResponse()
        await stream.prepare(request)
        if int(start) < self.compacted:
            await stream.write(json.dumps({"type": "ERROR", "object": expired}).encode() + b"\n")
            return stream
        wake = asyncio.Event()
        self._wake.add(wake)
        self._streams.add(stream)
        self._transports.add(request.transport)
        try:
            at = int(start)
            while True:
                for version, event in list(self.history):
                    if version > at and not self.silent:
                        at = version
                        await stream.write(json.dumps(event).encode() + b"\n")
                await wake.wait()
                wake.clear()
        except ConnectionResetError:
            return stream
        finally:
            self._wake.discard(wake)
            self._streams.discard(stream)
            self._transports.discard(request.transport)


@pytest.fixture
async def api_server(tmp_path, monkeypatch) -> AsyncIterator[ApiServer]:
    server = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "secret-token"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    yield server
    server.disconnect()
    await runner.cleanup()


@pytest.fixture
async def cluster(api_server) -> AsyncIterator[Cluster]:
    async with Cluster.from_environment(request_timeout=2.0) as cluster:
        yield cluster


@pytest.fixture
def thing() -> Thing:
    return Thing()


@pytest.fixture(name="until")
def until_fixture() -> Callable:
    return until
