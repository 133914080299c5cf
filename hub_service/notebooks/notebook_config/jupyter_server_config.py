"""What a notebook server does differently when its kernels run behind a gateway, each in a pod.

Delivered into the notebook's pod by whoever makes it; the image needs nothing installed. It runs
in that image's own Python: standard library and what comes with jupyter_server 2 or newer. A part
that does not fit the version found there is left out with a line in the log; the server starts in
any case, and is then a stock one in that respect.

It is long and yet one file: the pod carries it as an annotation, and where it runs there is nothing
of ours that it could import. Its parts are the functions that `configure`, at the end, lists; what
one of them needs stands beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import random
import re
import time
import uuid
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
# Seconds between two pings to a gateway: one whose node is lost doesn't say that it has gone. Twice
# that, after which it is given up, is more than the minute for which a gateway tries to reach a
# kernel that says nothing, and answers no ping.
PING_SECONDS = 35.0
# While the gateway is away: messages of one connection that are kept for it, and characters in
# them; seconds until the first try to connect again and, in the end, between two; tries after which
# a kernel that the gateway doesn't know is gone.
MAX_KEPT = 1000
MAX_KEPT_SIZE = 50_000_000
RECONNECT_FIRST, RECONNECT_MOST = 0.1, 1.0
TRIES_TO_FIND = 5
# What a cell is ended with whose answer can't come any more.
LOST = (
    "The gateway was away when this cell finished: what it printed and returned meanwhile is lost. "
    "The variables that it set are there."
)
UNKNOWN = (
    "The gateway went away before this cell was seen to begin. Whether it has run is not known: "
    "look at what it would have changed before you run it again."
)
GONE = "The kernel has ended, and with it what this cell was to do. Its variables are gone."
TOO_MUCH = "The gateway is away, and too much waits for it already: this was not sent. Try again."
# Larger messages are not parsed as a whole.
SMALL = 20_000
CHANNEL = re.compile(r'"channel":\s*"(\w+)"').search
# Tells the gateway what this server takes. To one that doesn't say, it sends no more than stock
# servers take.
SIZE_HEADER = "Elastic-Max-Message-Size"


def let_all_messages_pass(c: Any) -> None:
    """Messages of up to `message_size` bytes, and those with binary data, in both directions.

    The latter (widgets have them) end a stock server's reading from the gateway. And pings, without
    which it never learns that a gateway's node is lost.
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
            # How long to wait for the answer, each version of tornado derives from this.
            kwargs.setdefault("ping_interval", PING_SECONDS)
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


class Requests:
    """What one browser's connection has asked of a kernel and not heard the answer to.

    A gateway may be lost at any time. The kernel goes on and does not say again what it said
    meanwhile; so who waits for it has to be told that it won't come.
    """

    def __init__(self) -> None:
        # By id, oldest first: header, the message as it came, and whether it was seen to begin.
        self._waiting: dict[str, list[Any]] = {}
        self._before: list[str] = []  # sent by an earlier connection
        self._probe = ""
        self._first = False

    def sent(self, message: str | bytes) -> None:
        """The browser's message goes to the gateway."""
        header, _, channel = envelope(message)
        if header.get("msg_type", "").endswith("_request") and channel == "shell":
            self._waiting[header["msg_id"]] = [header, message, False]
            while len(self._waiting) > MAX_KEPT:
                del self._waiting[next(iter(self._waiting))]

    def heard(self, message: str | bytes) -> tuple[bool, list[str], list[str | bytes]]:
        """The gateway has sent this.

        Whether the browser is to have it, what else it is to have, and what is to be sent again.
        """
        first, self._first = self._first, False
        if not self._waiting and not self._probe:
            return True, [], []
        header, parent, _ = envelope(message)
        kind, asked = header.get("msg_type", ""), parent.get("msg_id", "")
        if self._probe and asked == self._probe:
            if not kind.endswith("_reply"):
                return False, [], []
            self._probe = ""
            return False, self._end(self._before), []
        if asked in self._waiting:
            self._waiting[asked][2] = True
            if kind.endswith("_reply"):
                del self._waiting[asked]
        elif kind == "status" and not asked:
            state = json.loads(message)["content"].get("execution_state")
            if state == "dead":
                self._probe = ""
                return True, self._end(list(self._waiting), GONE), []
            if state == "starting" and first:
                # It has never answered, so nothing of this can have run.
                self._probe = ""
                return True, [], [self._waiting.pop(i)[1] for i in self._before]
        return True, [], []

    def connected_again(self, session: str) -> str:
        """What is to be sent first on a new connection; empty where nothing was asked before."""
        self._first = True
        self._before = list(self._waiting)
        if not self._before:
            return ""
        # Answered once all that was asked before is done, or it never will be.
        probe = a_message("kernel_info_request", {}, {}, "shell", session)
        self._probe = envelope(probe)[0]["msg_id"]
        return probe

    def kernel_is_gone(self) -> list[str]:
        """What the browser is to have where there is no such kernel any longer."""
        dead = a_message("status", {"execution_state": "dead"}, {}, "iopub")
        return [*self._end(list(self._waiting), GONE), dead]

    def refused(self, message: str | bytes, sentence: str) -> list[str]:
        """What the browser is to have in place of an answer to what can't be sent."""
        self.sent(message)
        return self._end([envelope(message)[0].get("msg_id", "")], sentence)

    def _end(self, ids: list[str], sentence: str = "") -> list[str]:
        told: list[str] = []
        for header, _, begun in [self._waiting.pop(i) for i in ids if i in self._waiting]:
            kind = header["msg_type"].removesuffix("_request") + "_reply"
            why = sentence or (LOST if begun else UNKNOWN)
            error = {"status": "error", "ename": "OutputLost", "evalue": why, "traceback": [why]}
            if kind == "execute_reply":
                said = {"name": "stderr", "text": f"{why}\n"}
                told.append(a_message("stream", said, header, "iopub"))
            told.append(a_message(kind, error, header, "shell"))
            told.append(a_message("status", {"execution_state": "idle"}, header, "iopub"))
        return told


def envelope(message: str | bytes) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Header, parent's header and channel of a message; large contents are not read."""
    if isinstance(message, bytes):
        # Offsets, the JSON, and binary data.
        start, end = (int.from_bytes(message[at : at + 4], "big") for at in (4, 8))
        message = message[start:end].decode("utf8", "replace")
    if len(message) < SMALL:
        parsed = json.loads(message)
        return parsed["header"], parsed.get("parent_header") or {}, parsed.get("channel") or "shell"
    found = [part_of(name, message) for name in ("header", "parent_header")]
    channel = CHANNEL(message[-SMALL:]) or CHANNEL(message[:SMALL])
    return found[0], found[1], channel.group(1) if channel else ""


def part_of(name: str, message: str) -> dict[str, Any]:
    """The header of that name, without reading what comes after."""
    at = re.search(rf'"{name}":\s*', message[:SMALL])
    try:
        return dict(json.JSONDecoder().raw_decode(message, at.end())[0]) if at else {}
    except ValueError:
        return {}


def a_message(
    kind: str, content: Any, parent: Any, channel: str, session: str = "notebook-server"
) -> str:
    """A message in the form that browsers and gateways exchange."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": kind,
        "session": session,
        "username": "",
        "version": "5.3",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    body = {"header": header, "msg_id": header["msg_id"], "msg_type": kind, "content": content}
    return json.dumps(
        {**body, "parent_header": parent, "metadata": {}, "buffers": [], "channel": channel}
    )


def let_no_cell_wait_for_ever(c: Any) -> None:
    """A gateway that is lost, or replaced by another, is connected to again at once.

    What is sent meanwhile is kept, and what was asked before is answered: by the kernel, or in the
    kernel's place once its answer can't come any more.
    """
    from jupyter_server.gateway import connections
    from jupyter_server.gateway.gateway_client import GatewayClient
    from tornado.ioloop import IOLoop
    from tornado.websocket import WebSocketClosedError

    base = c.ServerApp.get("kernel_websocket_connection_class")
    if not isinstance(base, type):
        base = connections.GatewayWebSocketConnection

    class Connection(base):  # type: ignore[misc, valid-type]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._requests = Requests()
            self._kept: list[str | bytes] = []
            self._open = self._was_open = False
            self._not_found = 0

        def handle_incoming_message(self, message: Any) -> None:
            if self._open and not self._kept:
                self._send(message)
            elif len(self._kept) < MAX_KEPT and sum(map(len, self._kept)) < MAX_KEPT_SIZE:
                self._kept.append(message)
            else:
                self._tell(self._requests.refused(message, TOO_MUCH))

        def _send(self, message: str | bytes) -> None:
            try:
                self.ws.write_message(message, binary=isinstance(message, bytes))
            except WebSocketClosedError:
                self._open = False
                self._kept.append(message)
                return
            with contextlib.suppress(ValueError, KeyError, TypeError):  # the gateway says so
                self._requests.sent(message)

        def _send_kept(self) -> None:
            kept, self._kept = self._kept, []
            for message in kept:
                self._send(message) if self._open else self._kept.append(message)

        def _tell(self, messages: list[str]) -> None:
            for message in messages:
                super().handle_outgoing_message(message)

        def handle_outgoing_message(self, incoming_msg: Any, *args: Any) -> None:
            try:
                passes, told, again = self._requests.heard(incoming_msg)
            except (ValueError, KeyError, TypeError) as error:
                self.log.debug("a message that can't be read is passed on: %r", error)
                passes, told, again = True, [], []
            if passes:
                super().handle_outgoing_message(incoming_msg, *args)
            self._tell(told)
            if self._open and (again or self._kept):
                self._kept = [*again, *self._kept]
                self._send_kept()

        def _connection_done(self, fut: Any) -> None:
            error = fut.exception() if not fut.cancelled() else None
            super()._connection_done(fut)
            if self.disconnected or fut.cancelled():
                return
            if error is not None:
                self._not_found = self._not_found + 1 if getattr(error, "code", 0) == 404 else 0
                return
            self._not_found, self._open = 0, True
            probe = self._requests.connected_again(self.session_id) if self._was_open else ""
            self._was_open = True
            if not probe:
                self._send_kept()
                return
            # What was kept waits for the first word from there: it may have to come second. But a
            # kernel that waits for input says nothing before it has that.
            self.ws.write_message(probe)
            waiting = [one for one in self._kept if envelope(one)[2] == "shell"]
            self._kept = [one for one in self._kept if envelope(one)[2] != "shell"]
            self._send_kept()
            self._kept += waiting

        async def _read_messages(self) -> None:
            while self.ws is not None and not self.disconnected:
                message = await self.ws.read_message()
                if message is None:
                    break
                self.handle_outgoing_message(message)
            self._open = False
            if self.disconnected:
                return
            if self._not_found >= TRIES_TO_FIND:
                self.log.warning("kernel %s is gone from its gateway", self.kernel_id)
                self._tell(self._requests.kernel_is_gone())
                return
            if self.retry < GatewayClient.instance().gateway_retry_max:
                if self.retry in (0, 10):
                    self.log.warning("kernel %s: its gateway is away", self.kernel_id)
                delay = min(RECONNECT_FIRST * 2**self.retry, RECONNECT_MOST)
                self.retry += 1
                await asyncio.sleep(delay * random.uniform(0.7, 1.3))  # noqa: S311
                if not self.disconnected:
                    IOLoop.current().spawn_callback(self.connect)

    c.ServerApp.kernel_websocket_connection_class = Connection


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
            known = self._kernels.get(kernel_id)
            if known is not None and "reason" in (known.kernel or {}):
                await known.refresh_model()  # else it is starting until all are listed
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
        let_no_cell_wait_for_ever,
        let_kernels_outlive_the_server,
    ]
    for part in parts:
        try:
            part(c)
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the server must start
            log.warning("elastic kernels: %s is not possible here: %r", part.__name__, error)


if os.environ.get("JUPYTER_GATEWAY_URL"):
    configure(get_config())  # type: ignore[name-defined]  # noqa: F821
