"""The websocket between a notebook server and a kernel's ZeroMQ channels."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from jupyter_client.jsonutil import date_default
from jupyter_server.base.zmqhandlers import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from jupyter_server.services.kernels.handlers import ZMQChannelsHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from elastic_spawner.gateway import oversize
from elastic_spawner.gateway.holding import Answer, Holding, aborted, refused
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.jsonerrors import JSONErrors
from elastic_spawner.gateway.kernelmanager import ElasticKernelManager
from elastic_spawner.gateway.kernels import ElasticMappingKernelManager
from elastic_spawner.gateway.saving import is_only_ours

_V1 = "v1.kernel.websocket.jupyter.org"
_HEADER, _PARENT, _CONTENT, _BUFFERS = 0, 1, 3, 4  # parts of a message after its signature
_TO_KERNEL = ("shell", "control", "stdin")
# To read and write such a message's content takes so long that others would notice.
_LARGE = 1_000_000
# What a websocket's message may have beyond the kernel's, generously.
_ENVELOPE = 10_000

_POLICY_VIOLATION = 1008
_LONGEST_CLOSE_REASON = 100

# Until the subscription to iopub has got through to the kernel, what it publishes is lost to us.
# The first request whose status is heard shows that it has. These are the seconds until the next
# request; a minute in all. The control channel is asked alone at first: what stands in the shell's
# queue is in the way of the first cell. Not every kernel answers there.
_NUDGE_INTERVALS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, *[0.5] * 120)
_NUDGES_OF_CONTROL_ALONE = 3


class ChannelsHandler(JSONErrors, ZMQChannelsHandler):
    """One client of one kernel.

    Beyond what jupyter_server's does: it knows whose it is, counts what it passes on as activity,
    tells its client what a start waits for, and when and why the kernel has ended, and moves to the
    pod that a restart brings.
    """

    caller: Identity
    authorization: str | None
    manager: ElasticKernelManager
    channels: dict[str, Any]

    def initialize(self) -> None:
        """Called by tornado for each connection."""
        super().initialize()
        # While the kernel is starting, or its pod is being replaced: what is sent waits here.
        self._holding: Holding | None = None
        self._opened = False
        self._limit = oversize.limit_of(self.request.headers)

    async def prepare(self) -> None:
        """Identify the caller and find the kernel among theirs; KernelError as for requests."""
        self.authorization = self.request.headers.get("Authorization")
        self.caller = await self.settings["runtime"].caller(self.authorization)
        kernels: ElasticMappingKernelManager = self.settings["kernel_manager"]
        await kernels.find(self.path_kwargs["kernel_id"], self.caller)
        self.manager = kernels.owned(self.path_kwargs["kernel_id"], self.caller)
        prepared = super().prepare()
        if prepared is not None:
            await prepared

    def get_current_user(self) -> str:
        """The caller, for jupyter_server's own check."""
        return self.caller.name

    def open(self, kernel_id: str) -> Any:
        """Connect to the kernel; what a client sends waits until that has succeeded."""
        if self._open_sessions.get(self.session_key) is not self:
            self.close()  # replaced while it was on its way
            return None
        self._opened = True
        self.manager.clients.add(self)
        if (self.manager.sealing.held or not self.manager.reachable) and not self.manager.ended:
            self._holding = Holding()
        opened = super().open(kernel_id)
        if self.manager.ended:
            self._say("dead")
        elif self.manager.starting:
            self._say("starting")
        return opened

    async def _register_session(self) -> None:
        """Take over from an earlier connection of the same client, one that it lost.

        jupyter_server waits until that one has closed. One that is itself still being opened never
        does, and a notebook server that reconnects in a hurry would wait with it, for ever.
        """
        self.session_key = f"{self.kernel_id}:{self.session.session}"
        earlier = self._open_sessions.get(self.session_key)
        self._open_sessions[self.session_key] = self
        if earlier is not None:
            self.log.info("kernel %s: its client has connected again", self.kernel_id)
            earlier.close()

    def request_kernel_info(self) -> Any:
        """Adapt to the kernel's version of the protocol, at once or when it answers.

        jupyter_server has the connection wait for that; a kernel that starts has time.
        """
        if not self.manager.monitor.kernel_info.done():
            self._kernel_info_future.set_result({})
        return super().request_kernel_info()

    def create_stream(self) -> None:
        """Connect to the kernel's channels, if it has a pod to connect to."""
        if self.manager.reachable:
            super().create_stream()

    def on_close(self) -> None:
        """The client has gone."""
        if not self._opened:
            if self._open_sessions.get(self.session_key) is self:
                del self._open_sessions[self.session_key]
            return
        self.manager.clients.discard(self)
        super().on_close()

    def on_message(self, ws_msg: str | bytes) -> None:
        """Pass a client's message on, and count it; refuse it if the kernel has ended."""
        channel, header, message, send = self._read(ws_msg)
        if not isinstance(header, dict) or not isinstance(header.get("msg_id"), str):
            self.log.warning("a message without an id, which nothing could answer, is left out")
        elif channel not in _TO_KERNEL:
            self.log.warning("a message for %r, which takes none, is left out", channel)
        elif self.manager.ended:
            self._answer(refused(header, self.manager.ended.message))
            self._say("dead")
        elif self._holding is not None:
            self._hold(self._holding, ws_msg, header, message)
        elif channel in self.channels:  # or the connection was closed meanwhile
            self.manager.monitor.passed_on(header, self._command(header, message))
            self._give_notice(header, message)
            send(self.channels[channel], message)

    def nudge(self) -> Awaitable[None]:
        """Wait until iopub delivers; not for a kernel that is busy or gone, which says nothing."""
        if not self.channels or self.manager.execution_state == "busy":
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return asyncio.ensure_future(self._nudge())

    def tell_ended(self, message: str, cell: Any) -> None:
        """Write why the kernel ended below the cell that was running, or ran last."""
        iopub = self.channels.get("iopub")
        if iopub and not iopub.closed():
            try:
                iopub.flush()  # what the kernel still said comes first
            except Exception:
                # It can say anything; its end is told all the same.
                self.log.exception("kernel %s: its last messages were not read", self.kernel_id)
        self._write("iopub", "stream", {"name": "stderr", "text": f"{message}\n"}, cell)

    def show(self, kind: str, content: dict[str, Any], cell: Any) -> None:
        """Show something in the output of `cell`, by a message of that type on iopub."""
        self._write("iopub", kind, content, cell)

    def waits(self) -> bool:
        """Whether a cell is held back."""
        held = self._holding.messages if self._holding else []
        return any(self._read(message)[1].get("msg_type") == "execute_request" for message in held)

    def revoke(self, message: str) -> None:
        """The caller's token is good no longer."""
        WebSocketHandler.close(self, _POLICY_VIOLATION, message[:_LONGEST_CLOSE_REASON])

    def on_restart_failed(self) -> None:
        """The kernel is dead, and stays so until its user restarts it."""
        self._say("dead")

    def show_progress(self, text: str) -> None:
        """Say in the first cell that waits what the kernel's start waits for."""
        if self._holding is not None:
            self._answer(self._holding.show(text))

    def hold(self) -> None:
        """Let what the client sends wait."""
        self._holding = self._holding or Holding()

    def disconnect(self) -> None:
        """Close the channels to the kernel; the client stays, and what it sends waits."""
        self._holding = self._holding or Holding()
        channels, self.channels = self.channels, {}
        for stream in channels.values():
            if not stream.closed():
                stream.on_recv(None)
                stream.close()

    async def reconnect(self) -> None:
        """Connect to the channels of the kernel's pod."""
        self.session.key = self.manager.session.key
        self.create_stream()
        await self.nudge()
        for stream in self.channels.values():
            stream.on_recv_stream(self._on_zmq_reply)

    def _on_zmq_reply(self, stream: Any, msg_list: list[bytes]) -> None:
        _, parts = self.session.feed_identities(msg_list)
        parts, channel = parts[1:], getattr(stream, "channel", "")
        if channel == "shell":
            self.manager.monitor.replied(self.session.unpack(parts[_PARENT]))
        if channel == "iopub" and is_only_ours(parts):
            return
        size = sum(map(len, parts))
        if size > self._limit - _ENVELOPE:
            self._leave_out(channel, parts, size)
        elif size > _LARGE and self.subprotocol != _V1 and len(parts) == _BUFFERS:
            self._pass_on_text(channel, msg_list)
        else:
            with contextlib.suppress(WebSocketClosedError):
                super()._on_zmq_reply(stream, msg_list)

    def _pass_on_text(self, channel: str, msg_list: list[bytes]) -> None:
        """Pass a message on with its content as the kernel wrote it, which is JSON already."""
        try:
            _, signed = self.session.feed_identities(msg_list)
            message = self.session.deserialize(signed, content=False, copy=True)
            content = bytes(message.pop("content")).decode()
        except ValueError as error:
            self.log.warning("kernel %s: a message that can't be read: %s", self.kernel_id, error)
            return
        envelope = json.dumps(message | {"channel": channel}, default=date_default)
        text = f'{envelope[:-1]}, "content": {content}}}'.encode()
        if len(text) > self._limit:
            self._leave_out(channel, signed[1:], len(text))
            return
        with contextlib.suppress(WebSocketClosedError):
            self.write_message(text)

    def _leave_out(self, channel: str, parts: list[bytes], size: int) -> None:
        """Say that a message is too large for this client, where it would have been."""
        header, parent = self.session.unpack(parts[_HEADER]), self.session.unpack(parts[_PARENT])
        kind = header["msg_type"]
        self.log.info("kernel %s: %s of %d bytes not passed on", self.kernel_id, kind, size)
        self._write(channel, *oversize.substitute(channel, kind, size, self._limit), parent)

    def resume(self) -> None:
        """Pass on what came meanwhile, or refuse it if the kernel has ended."""
        if self._holding is None:
            return
        messages, answers = self._holding.release()
        self._holding = None
        self._answer(answers)
        if self.manager.ended is None:
            self._say(self.manager.execution_state)
            for ws_msg in messages:
                self.on_message(ws_msg)
            return
        answer: Callable[[dict[str, Any]], list[Answer]] = partial(
            refused, sentence=self.manager.ended.message
        )
        for ws_msg in messages:
            _, header, _, _ = self._read(ws_msg)
            self._answer(answer(header))
            if header.get("msg_type") == "execute_request":
                answer = aborted  # the sentence was said
        self._say("dead")

    def drop(self) -> None:
        """Tell those who wait for what is held back that it won't run."""
        if self._holding is None:
            return
        messages, answers = self._holding.release()
        self._answer(answers)
        for ws_msg in messages:
            _, header, _, _ = self._read(ws_msg)
            self._answer(aborted(header))

    def _read(self, ws_msg: str | bytes) -> tuple[str, dict[str, Any], Any, Callable[..., Any]]:
        """A client's message: channel, header, what is to be sent, and by what function."""
        message: Any
        if self.subprotocol == _V1:
            channel, message = deserialize_msg_from_ws_v1(ws_msg)
            return channel, self.session.unpack(message[_HEADER]), message, self.session.send_raw
        binary = isinstance(ws_msg, bytes)
        message = deserialize_binary_message(ws_msg) if binary else json.loads(ws_msg)
        channel = message.pop("channel", None) or "shell"
        return channel, message["header"], message, self.session.send

    def _hold(
        self, holding: Holding, ws_msg: str | bytes, header: dict[str, Any], message: Any
    ) -> None:
        progress = self.manager.progress
        if not progress:
            holding.messages.append(ws_msg)
            return
        content = self._content(message)
        told = holding.take(ws_msg, header, content, self.manager.introduction, progress)
        self._answer(told)

    def _give_notice(self, header: dict[str, Any], message: Any) -> None:
        """Write below the first cell what its user has to know of the kernel."""
        if header.get("msg_type") != "execute_request" or not self.manager.has_notice:
            return
        if not self._content(message).get("silent") and (notice := self.manager.take_notice()):
            self._write("iopub", "stream", {"name": "stderr", "text": f"{notice}\n"}, header)

    def _command(self, header: dict[str, Any], message: Any) -> str:
        if header.get("msg_type") != "debug_request":
            return ""
        content = self._content(message)
        return str(content.get("command")) if isinstance(content, dict) else ""

    def _content(self, message: Any) -> dict[str, Any]:
        v1 = self.subprotocol == _V1
        content: dict[str, Any] = (
            self.session.unpack(message[_CONTENT]) if v1 else message["content"]
        )
        return content

    def _say(self, state: str) -> None:
        """Tell the client the kernel's state, whatever it asked for."""
        self._write("iopub", "status", {"execution_state": state}, {})

    def _answer(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._write(*answer)

    def _write(self, channel: str, kind: str, content: dict[str, Any], parent: Any) -> None:
        message = self.session.msg(kind, content=content)
        message["parent_header"] = parent  # given to `msg`, it would have to have an id
        try:
            if self.subprotocol == _V1:
                data = serialize_msg_to_ws_v1(message, channel, self.session.pack)
                self.write_message(data, binary=True)
            else:
                self.write_message(json.dumps(message | {"channel": channel}, default=date_default))
        except WebSocketClosedError:
            self.log.debug("kernel %s: the client left before it was told", self.kernel_id)

    async def _nudge(self) -> None:
        shell, control = self.manager.connect_shell(), self.manager.connect_control()
        iopub = self.channels["iopub"]
        delivered = asyncio.Event()
        iopub.on_recv(lambda _: delivered.set())
        try:
            for attempt, interval in enumerate(_NUDGE_INTERVALS):
                if self.ws_connection is None or self.manager.ended or iopub.closed():
                    return
                self.session.send(control, "kernel_info_request")
                if attempt >= _NUDGES_OF_CONTROL_ALONE:
                    self.session.send(shell, "kernel_info_request")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(delivered.wait(), interval)
                    return
            self.log.warning("kernel %s publishes nothing to its new client", self.kernel_id)
        finally:
            shell.close()
            control.close()
            if not iopub.closed():
                iopub.stop_on_recv()
