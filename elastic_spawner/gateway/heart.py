"""A kernel's heartbeat: whether its process answers, asked every few seconds.

Only silence at a connection that stands, of a kernel that has nothing to do, counts: a busy kernel
may keep its heartbeat to itself (R's does, and so may any that computes in native code), and one
that can't be reached may be alive. What to do about a lost heart is the hub service's to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from zmq import DEALER, IMMEDIATE, NOBLOCK, TCP_MAXRT, Again, Context
from zmq.eventloop.zmqstream import ZMQStream

_INTERVAL = 5.0
# Rounds without an answer before it counts. More than one: when this process itself was held up,
# the answer may be there and not read yet.
_ROUNDS = 2
# A connection whose packets nobody takes is given up then: it is the network or the node that is
# silent, not the kernel. A stopped process still has its packets taken.
_CONNECTION_TIMEOUT_MS = 8000


class Heart:
    """Pings one kernel at a time.

    lost_since: when the first ping went out that should have been answered and was not, nor any
    after it; None while the kernel answers, or nothing can be said.
    is_idle: whether an answer is to be expected. on_change: `lost_since` has changed.
    """

    def __init__(
        self,
        context: Context[Any],
        is_idle: Callable[[], bool],
        on_change: Callable[[], None],
        *,
        interval: float = _INTERVAL,
    ) -> None:
        self.lost_since: datetime | None = None
        self._context = context
        self._is_idle = is_idle
        self._on_change = on_change
        self._interval = interval
        self._stream: ZMQStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: list[datetime] = []
        self._is_mute = False

    def start(self, ip: str, port: int) -> None:
        """Ping the kernel at this address from now on."""
        self.stop()
        socket = self._context.socket(DEALER)
        socket.linger = 0
        # Nothing is sent, and nothing waited for, while there is no connection.
        socket.setsockopt(IMMEDIATE, 1)
        socket.setsockopt(TCP_MAXRT, _CONNECTION_TIMEOUT_MS)
        socket.connect(f"tcp://{ip}:{port}")
        self._stream = ZMQStream(socket)
        self._stream.on_recv(lambda _: self.beats())
        self._again()

    def stop(self) -> None:
        """Ask no more; nothing is said about the kernel from then on."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._stream is not None and not self._stream.closed():
            self._stream.on_recv(None)
            self._stream.close()
        self._stream = None
        self.beats()

    def beats(self) -> None:
        """The kernel was heard, on this channel or another."""
        self._unanswered = []
        self._is_mute = False
        if self.lost_since is not None:
            self.lost_since = None
            self._on_change()

    def never_answered(self, since: datetime) -> None:
        """Its process has had its time and has not answered: lost until it does, reached or not."""
        self._is_mute = True
        self.lost_since = since
        self._on_change()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _beat(self) -> None:
        self._again()
        # What was sent to a kernel after its heart stopped does not make it busy.
        if self.lost_since is None and not self._is_idle():
            self._unanswered = []
            return
        if len(self._unanswered) >= _ROUNDS and self.lost_since is None:
            self.lost_since = self._unanswered[0]
            self._on_change()
        assert self._stream is not None  # noqa: S101 - there is no timer without it
        try:
            # The heartbeat echoes the frames after the identity; REQ would send the empty one.
            self._stream.socket.send_multipart([b"", b"ping"], NOBLOCK)
        except Again:
            if not self._is_mute:
                self.beats()  # no connection: there is nothing to be said
        else:
            if len(self._unanswered) < _ROUNDS:
                self._unanswered.append(datetime.now(UTC))
