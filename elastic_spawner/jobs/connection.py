"""A kernel's channels over one websocket to the gateway."""

from __future__ import annotations

import asyncio
import contextlib
from queue import Empty
from typing import Any

from nbclient.exceptions import DeadKernelError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from elastic_spawner.jobs import messages
from elastic_spawner.jobs.gateway import Gateway, GatewayError

CHANNELS = ("shell", "iopub", "control", "stdin")
# Where replies are awaited: who waits there is told when none can come any more.
_REPLIES = ("shell", "control")


class Connection:
    """Reads the websocket and sorts what comes by channel.

    ended: why nothing comes any more, in a sentence; None while it does.
    """

    def __init__(self, gateway: Gateway, kernel_id: str) -> None:
        self._gateway = gateway
        self._kernel_id = kernel_id
        self._socket: WebSocketClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._queues: dict[str, asyncio.Queue[dict[str, Any] | None]] = {
            name: asyncio.Queue() for name in CHANNELS
        }
        self.ended: str | None = None

    async def open(self, session_id: str) -> None:
        """Connect. Raises GatewayError."""
        self._socket = await self._gateway.connect(self._kernel_id, session_id)
        self._reader = asyncio.create_task(self._read(self._socket))

    async def close(self) -> None:
        """Disconnect; nothing is awaited any more."""
        self._end("The run was ended.")
        if self._socket is not None:
            self._socket.close()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader

    @property
    def is_open(self) -> bool:
        """Whether messages can come and go."""
        return self._socket is not None and self.ended is None

    def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to the kernel. Raises DeadKernelError when there is none any more."""
        if self._socket is None or self.ended is not None:
            raise DeadKernelError(self.ended or "There is no connection to a kernel.")
        try:
            self._socket.write_message(messages.encode(channel, message), binary=True)
        except WebSocketClosedError as error:
            raise DeadKernelError("The connection to the gateway was closed.") from error

    async def receive(self, channel: str, timeout: float | None) -> dict[str, Any]:
        """The next message of a channel.

        timeout: in seconds, None for ever. Raises Empty when it is over, and, on the channels that
        replies come by, DeadKernelError when the kernel has ended.
        """
        queue = self._queues[channel]
        try:
            message = await asyncio.wait_for(queue.get(), timeout)
        except TimeoutError:
            raise Empty from None
        if message is None:
            queue.put_nowait(None)
            raise DeadKernelError(self.ended or "The kernel has ended.")
        return message

    async def _read(self, socket: WebSocketClientConnection) -> None:
        while (frame := await socket.read_message()) is not None:
            if not isinstance(frame, bytes):
                continue  # the gateway was asked for binary frames
            channel, message = messages.decode(frame)
            if channel in self._queues:
                self._queues[channel].put_nowait(message)
            state = message["content"].get("execution_state")
            if message["msg_type"] == "status" and state == "dead":
                self._end(await self._reason())
                return
        self._end(
            "The connection to the gateway was lost, and with it the run: "
            f"{socket.close_reason or 'no reason was given'}."
        )

    async def _reason(self) -> str:
        try:
            model = await self._gateway.model(self._kernel_id)
        except GatewayError as error:
            return f"The kernel has ended; why could not be asked: {error}"
        return str((model or {}).get("reason") or "The kernel has ended.")

    def _end(self, why: str) -> None:
        if self.ended is None:
            self.ended = why
            for name in _REPLIES:
                self._queues[name].put_nowait(None)
