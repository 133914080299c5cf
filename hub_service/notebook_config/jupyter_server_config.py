"""What a notebook server does differently when its kernels run behind a gateway, each in a pod.

Delivered into the notebook's pod by whoever makes it; the image needs nothing installed. It runs
in that image's own Python: standard library and what comes with jupyter_server 2 or newer. A part
that does not fit the version found there is left out with a line in the log; the server starts in
any case, and is then a stock one in that respect.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tornado.web import HTTPError

log = logging.getLogger("ServerApp")

# Bytes in one message. tornado's connections buffer 104857600 bytes, a message and a bit of the
# next one; by default they take messages of a tenth of that.
DEFAULT_MESSAGE_SIZE = 10 * 1024 * 1024
MAX_MESSAGE_SIZE = 100_000_000
# A message is in memory several times on its way through.
SHARE_OF_MEMORY = 8
# What the pod's container may use, by the two generations of control groups.
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Seconds for which a request waits for a gateway that nothing answers for.
AWAY_SECONDS = 15.0
AWAY = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)
# Tells the gateway what this server takes. To one that doesn't say, it sends no more than stock
# servers take.
SIZE_HEADER = "Elastic-Max-Message-Size"


def let_all_messages_pass(c: Any) -> None:
    """Messages of up to `message_size` bytes, and those with binary data, in both directions.

    The latter (widgets have them) end a stock server's reading from the gateway.
    """
    import tornado.websocket
    from jupyter_server.gateway import connections
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

    if not hasattr(connections, "tornado_websocket"):
        raise RuntimeError("its connections to a gateway are made in another way")

    size = message_size()

    class Binary(bytes):
        """A binary message that stays one where the connection means to decode it."""

        def decode(self, *_: Any, **__: Any) -> Any:
            return self

    class Websocket:
        """tornado.websocket for the connections to the gateway alone."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tornado.websocket, name)

        def websocket_connect(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            request.headers[SIZE_HEADER] = str(size)
            kwargs.setdefault("max_message_size", size)
            connecting: Any = tornado.websocket.websocket_connect(request, *args, **kwargs)
            connecting.add_done_callback(keep_binary)
            return connecting

    def keep_binary(connecting: Any) -> None:
        if connecting.cancelled() or connecting.exception():
            return
        connection = connecting.result()
        read = connection.read_message

        async def read_message() -> Any:
            message = await read()
            return Binary(message) if isinstance(message, bytes) else message

        connection.read_message = read_message

    class Connection(connections.GatewayWebSocketConnection):
        def handle_outgoing_message(self, incoming_msg: Any, *_: Any) -> None:
            try:
                binary = isinstance(incoming_msg, bytes)
                self.websocket_handler.write_message(incoming_msg, binary=binary)
            except tornado.websocket.WebSocketClosedError:
                self.log.debug("the browser has left before a message for it")

        def _write_message(self, message: Any) -> None:
            try:
                if not self.disconnected and self.ws is not None:
                    self.ws.write_message(message, binary=isinstance(message, bytes))
            except tornado.websocket.WebSocketClosedError as error:
                self.log.error("a message was not sent to the gateway: %r", error)

    connections.tornado_websocket = Websocket()
    c.ServerApp.kernel_websocket_connection_class = Connection
    # From the browser. Not by tornado_settings: what an image's own configuration has there is not
    # added to, but replaced.
    KernelWebsocketHandler.max_message_size = size


def message_size(limits: tuple[str, ...] = MEMORY_LIMITS) -> int:
    """What fits: a server with little memory had better leave an output out than be killed."""
    for path in limits:
        try:
            with open(path) as file:
                memory = int(file.read())
        except (OSError, ValueError):  # not there, or "max"
            continue
        return max(DEFAULT_MESSAGE_SIZE, min(MAX_MESSAGE_SIZE, memory // SHARE_OF_MEMORY))
    return MAX_MESSAGE_SIZE


def wait_for_a_gateway_that_is_away(_c: Any) -> None:
    """A request that reached no gateway is sent again for a while; a stock server gives up at once.

    Nobody took it, so nothing happens twice. It is so when a gateway is replaced, and for a second
    after one has become ready, until every node knows the way to it.
    """
    from jupyter_server.gateway import gateway_client

    class Client(gateway_client.RetryableHTTPClient):
        async def fetch(self, endpoint: str, **kwargs: Any) -> Any:
            give_up = time.monotonic() + AWAY_SECONDS
            told = False
            while True:
                try:
                    return await super().fetch(endpoint, **kwargs)
                except OSError as error:
                    if error.errno not in AWAY or time.monotonic() >= give_up:
                        raise
                if not told:
                    told = True
                    log.warning("the gateway can't be reached; waiting up to %d s", AWAY_SECONDS)
                await asyncio.sleep(0.2)

    gateway_client.RetryableHTTPClient = Client


def let_kernels_outlive_the_server(c: Any) -> None:
    """A server that stops leaves its kernels alone, and the next one finds them again.

    A server can't know whether its user stopped it or its node is drained. The hub does, and ends
    the kernels in the one case. Shutting down kernels in JupyterLab, one or all, is something
    else: a request for each of them.

    Which notebook belongs to which kernel is kept at the gateway: not every home is there to stay.
    """
    from jupyter_server.gateway.gateway_client import gateway_request
    from jupyter_server.gateway.managers import GatewayMappingKernelManager, GatewaySessionManager

    # "" is the name of the default server; None: there is no hub.
    own_server = os.environ.get("JUPYTERHUB_SERVER_NAME")

    class KernelManager(GatewayMappingKernelManager):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._found = False
            self._finding = asyncio.Lock()
            self._not_before = 0.0

        async def shutdown_all(self, now: bool = False) -> None:  # noqa: ARG002
            """Called when the server stops, and by nothing else."""
            self.log.info("%d kernels go on without this server", len(self._kernels))

        async def start_kernel(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return await super().start_kernel(*args, **kwargs)
            except HTTPError as error:
                raise in_the_gateways_words(error) from error

        async def list_kernels(self, **kwargs: Any) -> Any:
            await self.find_again()
            return await super().list_kernels(**kwargs)

        async def kernel_model(self, kernel_id: str) -> Any:
            await self.find_again()
            return await super().kernel_model(kernel_id)

        def get_kernel(self, kernel_id: str) -> Any:
            if kernel_id not in self._kernels and not self._found:
                # A tab left open connects again before anything else is asked; it tries twice.
                background(self.find_again())
            return super().get_kernel(kernel_id)

        async def find_again(self) -> None:
            """Take over what an earlier server left, once; later, where the gateway is away."""
            async with self._finding:
                if self._found or time.monotonic() < self._not_before:
                    return
                try:
                    response = await gateway_request(self.kernels_url, method="GET")
                    for model in json.loads(response.body):
                        if is_ours(model) and model["id"] not in self._kernels:
                            await super().start_kernel(kernel_id=model["id"])
                            self.parent.session_manager.take_over(model)
                            self.log.info("kernel %s found again", model["id"])
                    self._found = True
                except Exception as error:  # noqa: BLE001
                    self._not_before = time.monotonic() + 5
                    self.log.warning("kernels of an earlier server not looked for yet: %s", error)

    def is_ours(model: dict[str, Any]) -> bool:
        return model.get("server") == own_server and model.get("execution_state") != "dead"

    class SessionManager(GatewaySessionManager):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._writing = asyncio.Lock()

        async def session_exists(self, path: str) -> Any:
            await self.kernel_manager.find_again()
            return await super().session_exists(path)

        async def get_session(self, **kwargs: Any) -> Any:
            await self.kernel_manager.find_again()
            return await super().get_session(**kwargs)

        async def list_sessions(self) -> Any:
            await self.kernel_manager.find_again()
            return await super().list_sessions()

        async def save_session(self, session_id: str, *args: Any, **kwargs: Any) -> Any:
            model = await super().save_session(session_id, *args, **kwargs)
            background(self._keep_at_gateway(model["kernel"]["id"]))
            return model

        async def update_session(self, session_id: str, **kwargs: Any) -> None:
            await super().update_session(session_id, **kwargs)
            (kernel_id,) = self._rows("kernel_id", "session_id", session_id)[0]
            background(self._keep_at_gateway(kernel_id))

        def take_over(self, model: dict[str, Any]) -> None:
            """The sessions that were kept of a kernel."""
            for kept in model.get("sessions") or []:
                self.cursor.execute(
                    "INSERT INTO session (session_id, path, name, type, kernel_id)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (kept["id"], kept["path"], kept["name"], kept["type"], model["id"]),
                )

        async def _keep_at_gateway(self, kernel_id: str) -> None:
            async with self._writing:  # read within, so that the last to write knows the latest
                rows = self._rows("session_id, path, name, type", "kernel_id", kernel_id)
                kept = [dict(zip(("id", "path", "name", "type"), row)) for row in rows]  # noqa: B905
                try:
                    await gateway_request(
                        f"{self.kernel_manager.kernels_url}/{kernel_id}/sessions",
                        method="PUT",
                        headers={"Content-Type": "application/json"},
                        body=json.dumps({"sessions": kept}),
                    )
                except Exception as error:  # noqa: BLE001
                    self.log.warning("sessions of %s not kept at the gateway: %s", kernel_id, error)

        def _rows(self, wanted: str, column: str, value: str) -> list[Any]:
            query = f"SELECT {wanted} FROM session WHERE {column}=?"  # noqa: S608 - of this class
            rows: list[Any] = self.cursor.execute(query, (value,)).fetchall()
            return rows

    c.ServerApp.kernel_manager_class = KernelManager
    c.ServerApp.session_manager_class = SessionManager


def in_the_gateways_words(error: HTTPError) -> HTTPError:
    """The error with the gateway's own sentence, where there is one.

    jupyter_server wraps it in advice about the gateway's URL, or shows that advice's template.
    """
    response = getattr(error.__cause__, "response", None)
    try:
        message = json.loads(response.body)["message"] if response else ""
    except (ValueError, KeyError, TypeError):
        message = ""
    return RefusalError(error.status_code, message) if message else error


class RefusalError(HTTPError):
    """An error that is shown as its sentence alone."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


_tasks: set[asyncio.Task[None]] = set()


def background(work: Coroutine[Any, Any, None]) -> None:
    """Run it beside what is being done."""
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def configure(c: Any) -> None:
    """Apply every part that this version of jupyter_server has room for."""
    parts: list[Callable[[Any], None]] = [
        wait_for_a_gateway_that_is_away,
        let_all_messages_pass,
        let_kernels_outlive_the_server,
    ]
    for part in parts:
        try:
            part(c)
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the server must start
            log.warning("elastic kernels: %s is not possible here: %r", part.__name__, error)


if os.environ.get("JUPYTER_GATEWAY_URL"):
    configure(get_config())  # type: ignore[name-defined]  # noqa: F821
