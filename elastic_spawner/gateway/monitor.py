"""Listening to one kernel: what it publishes, and its first answer.

A connection of the gateway's own, so that a kernel's state is known before the first client
connects and after the last has left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from jupyter_client.session import Session
from zmq import DEALER, SUB, SUBSCRIBE, Context
from zmq.eventloop.zmqstream import ZMQStream

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway.activity import Activity
from elastic_spawner.gateway.heart import Heart
from elastic_spawner.gateway.saving import Output, is_ours
from hub_service import timestamps
from hub_service.kinds import IDLE

log = logging.getLogger(__name__)


class KernelMonitor:
    """Keeps the activity of one kernel; `on_change` is called after each change.

    session: of the kernel's manager, for key and signature scheme.
    heart: whether its process answers.
    executed: whether anything may have been run in it.
    kernel_info: the content of the kernel's first kernel_info_reply once it is there; {} if the
    kernel ends before. Websockets wait for it instead of asking again.
    """

    def __init__(
        self, context: Context[Any], session: Session, on_change: Callable[[], None]
    ) -> None:
        self.activity: Activity = activities.started(timestamps.now())
        self.executed = False
        self.kernel_info: Future[dict[str, Any]] = Future()
        self._context = context
        self._kernel_session = session
        self._session = session.clone()
        self._on_change = on_change
        self._streams: list[ZMQStream] = []
        self._outputs: dict[str, Output] = {}
        self._saves = False
        self.heart = Heart(context, self._is_idle, on_change)

    def start(self, ip: str, ports: dict[str, int]) -> None:
        """Connect to a kernel that has just begun, and ask whether it is ready."""
        self._connect_and_ask(ip, ports)
        self._update(activities.started(timestamps.now()))

    def _connect_and_ask(self, ip: str, ports: dict[str, int]) -> None:
        self.stop()
        self._saves = False
        self._session = self._kernel_session.clone()
        iopub = self._connect(SUB, ip, ports["iopub_port"])
        iopub.on_recv(self._on_iopub)
        shell = self._connect(DEALER, ip, ports["shell_port"])
        shell.on_recv(self._on_shell)
        self._session.send(shell, "kernel_info_request")
        self.heart.start(ip, ports["hb_port"])

    def adopt(self, ip: str, ports: dict[str, int], reported: dict[str, Any], process: str) -> None:
        """Connect to a kernel that may be at work, for another process of the gateway.

        reported: its activity as it was written last; process: what this one is called there.
        """
        # Websockets don't wait for an answer that comes when the running cell is done.
        if not self.kernel_info.done():
            self.kernel_info.set_result({})
        self._connect_and_ask(ip, ports)
        self.activity = activities.adopted(reported, timestamps.now(), process)

    def reset(self) -> None:
        """The kernel's process is being replaced: disconnect, and know nothing of what it does."""
        self.stop()
        self._update(activities.started(timestamps.now()))

    def stop(self) -> None:
        """Disconnect; the activity stays as it was."""
        self.heart.stop()
        for stream in self._streams:
            if not stream.closed():
                stream.on_recv(None)
                stream.close()
        self._streams = []

    def give_up(self) -> None:
        """The kernel has ended: nobody is to wait for its first answer any longer."""
        self.stop()
        if not self.kernel_info.done():
            self.kernel_info.set_result({})

    def passed_on(self, header: dict[str, Any], command: str = "") -> None:
        """A client's message is about to go to the kernel; command: of a debug_request."""
        self._update(activities.passed_on(self.activity, header, timestamps.now(), command))

    def left(self) -> None:
        """The last of this process' clients has gone."""
        self._update(activities.left(self.activity, timestamps.now()))

    def replied(self, parent: dict[str, Any]) -> None:
        """A reply of the kernel's shell channel went to a client."""
        self._update(activities.done(self.activity, parent, timestamps.now()))

    def listen(self, message_id: str, output: Output | None) -> None:
        """Have what answers that request of the gateway's own heard; None: no longer."""
        if output is None:
            self._outputs.pop(message_id, None)
        else:
            self._outputs[message_id] = output

    def _is_idle(self) -> bool:
        return self.activity.execution_state == IDLE and not self._saves

    def _connect(self, kind: int, ip: str, port: int) -> ZMQStream:
        socket = self._context.socket(kind)
        socket.linger = 0
        if kind == SUB:
            # A lost `idle` would leave the kernel busy for ever: none is dropped on this side.
            socket.rcvhwm = 0
            socket.setsockopt(SUBSCRIBE, b"")
        socket.connect(f"tcp://{ip}:{port}")
        stream = ZMQStream(socket)
        self._streams.append(stream)
        return stream

    def _on_iopub(self, frames: list[bytes]) -> None:
        try:
            _, parts = self._session.feed_identities(frames)
            message = self._session.deserialize(parts, content=False)
            kind = message["header"]["msg_type"]
            asked = message["parent_header"].get("msg_id")
            if is_ours(asked):
                self.heart.beats()
                self._hear_ours(kind, asked, self._session.unpack(message["content"]))
                return
            state = None
            if kind == "status":
                state = self._session.unpack(message["content"]).get("execution_state")
        except (ValueError, KeyError, TypeError) as error:
            log.warning("a message that is not the kernel's, or can't be read: %s", error)
            return
        self.heart.beats()
        self.executed |= message["parent_header"].get("msg_type") == "execute_request"
        self._update(
            activities.published(
                self.activity, kind, message["parent_header"], state, timestamps.now()
            )
        )

    def _hear_ours(self, kind: str, asked: str, content: dict[str, Any]) -> None:
        """What a kernel says of the gateway's own request before a cull; this process' or not."""
        if kind == "status":
            self._saves = content.get("execution_state") != IDLE
        if output := self._outputs.get(asked):
            output.hear(kind, content)

    def _on_shell(self, frames: list[bytes]) -> None:
        try:
            _, parts = self._session.feed_identities(frames)
            message = self._session.deserialize(parts)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("an answer that is not the kernel's, or can't be read: %s", error)
            return
        if message["header"]["msg_type"] != "kernel_info_reply":
            return
        if not self.kernel_info.done():
            self.kernel_info.set_result(message["content"])
        self._update(activities.answered(self.activity, timestamps.now()))

    def _update(self, activity: Activity) -> None:
        if activity != self.activity:
            self.activity = activity
            self._on_change()
