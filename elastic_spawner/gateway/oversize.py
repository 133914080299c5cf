"""What a client is told in place of a message that is too large for it. Pure.

A websocket takes messages up to some size, and breaks at a larger one. The client would connect
again, and its cell would wait for ever for what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The header by which a client says how many bytes it takes in one message.
SIZE_HEADER = "Elastic-Max-Message-Size"
# What tornado's clients take by default, jupyter_server among them.
DEFAULT_LIMIT = 10 * 1024 * 1024
# tornado's connections buffer 104857600 bytes: a message, and a bit of the next one.
MAX_LIMIT = 100_000_000


def limit_of(headers: Mapping[str, str]) -> int:
    """Bytes that a client takes in one message."""
    text = headers.get(SIZE_HEADER, "")
    return min(int(text), MAX_LIMIT) if text.isdecimal() else DEFAULT_LIMIT


def substitute(
    channel: str, message_type: str, size: int, limit: int
) -> tuple[str, dict[str, Any]]:
    """Type and content of the message to send in place of one of `size` bytes."""
    if channel == "iopub":
        return "stream", {"name": "stderr", "text": f"{_sentence('An output', size, limit)}\n"}
    if channel == "stdin":
        sentence = _sentence("A question", size, limit)
        return message_type, {"prompt": f"{sentence} ", "password": False}
    sentence = _sentence("The kernel's answer", size, limit)
    error = {"ename": "MessageTooLarge", "evalue": sentence, "traceback": [sentence]}
    return message_type, {"status": "error", **error}


def _sentence(what: str, size: int, limit: int) -> str:
    return (
        f"{what} of {size / 1e6:.1f} MB is not shown: this notebook takes {limit / 1e6:.1f} MB in "
        "one message. Show it in smaller parts, or save it to a file."
    )
