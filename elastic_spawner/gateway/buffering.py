"""What a kernel says for a client that has left is kept until that comes back, within bounds.

A kernel may print for days with no notebook open; jupyter_server would keep all of that in memory.
"""

from __future__ import annotations

from typing import Any

from jupyter_client.session import Session

# Bytes of all that is kept for one client. A browser can hardly show more, and a gateway has
# hundreds of kernels.
MOST = 10_000_000
# Beyond that only what ends a cell is kept, so that none waits for ever: so much more of it.
_MOST_OF_ENDS = 2_000_000
_HEADER, _PARENT = 1, 2  # parts of a message after its identities
_LOST = (
    "What this printed from here on is lost: no notebook was open, and no more than "
    f"{MOST // 1_000_000} MB are kept for one. The variables that it set are there.\n"
)


class Buffer:
    """messages: what is kept, oldest first, as (channel, frames).

    session: of the kernel's manager, which reads and signs what the kernel's clients do.
    """

    def __init__(self, session: Session, messages: list[tuple[str, list[bytes]]]) -> None:
        self._session = session
        self._messages = messages
        self._size = 0
        self._is_full = False

    def take(self, channel: str, frames: list[bytes]) -> bool:
        """Keep a message, or leave it out; False where it is all over with keeping."""
        size = sum(map(len, frames))
        kind, parent = self._read(frames)
        if not self._is_full and self._size + size > MOST:
            self._is_full = True
            self._messages.append(("iopub", self._told(parent)))
        if self._is_full and channel == "iopub" and kind != "status":
            return True
        if self._size + size > MOST + _MOST_OF_ENDS:
            return False
        self._size += size
        self._messages.append((channel, frames))
        return True

    def _read(self, frames: list[bytes]) -> tuple[str, dict[str, Any]]:
        """A message's type, and the header of what it answers."""
        try:
            _, parts = self._session.feed_identities(frames)
            header, parent = (self._session.unpack(parts[part]) for part in (_HEADER, _PARENT))
            return str(header["msg_type"]), dict(parent)
        except (ValueError, IndexError, KeyError, TypeError):
            return "", {}  # a kernel can say anything

    def _told(self, parent: dict[str, Any]) -> list[bytes]:
        message = self._session.msg("stream", {"name": "stderr", "text": _LOST})
        message["parent_header"] = parent
        frames: list[bytes] = self._session.serialize(message)
        return frames
