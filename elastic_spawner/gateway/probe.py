"""The first sign of life: an echo of a kernel's heartbeat channel.

Begun as soon as the pod has an address, which is before its kernel listens: the socket tries again
every few milliseconds, so the answer comes as soon as there can be one.
"""

from __future__ import annotations

from typing import Any

from zmq import CONNECT_TIMEOUT, DEALER, Context
from zmq.asyncio import Context as AsyncContext

_RECONNECT_MS = 20
# A pod's network may still drop packets while it is set up; without a limit of our own, the next
# try would come when the kernel of the operating system sends its SYN again, after a second.
_CONNECT_TIMEOUT_MS = 250


async def heartbeat(context: Context[Any], ip: str, port: int) -> None:
    """Return once the kernel's heartbeat channel at that address has answered; until cancelled."""
    shadow = AsyncContext.shadow(context.underlying)
    shadow.sockopts = dict(context.sockopts)  # the kernel's keys
    socket = shadow.socket(DEALER)
    socket.linger = 0
    socket.reconnect_ivl = _RECONNECT_MS
    socket.reconnect_ivl_max = _RECONNECT_MS
    socket.setsockopt(CONNECT_TIMEOUT, _CONNECT_TIMEOUT_MS)
    try:
        socket.connect(f"tcp://{ip}:{port}")
        # The heartbeat echoes the frames after the identity; the empty one is what REQ would send.
        await socket.send_multipart([b"", b"ping"])
        await socket.recv_multipart()
    finally:
        socket.close()
