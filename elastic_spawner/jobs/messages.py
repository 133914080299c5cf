"""Jupyter messages on a websocket, in the layout v1.kernel.websocket.jupyter.org. Pure.

A frame is: the number of offsets, the offsets (both as 8 bytes, little-endian), the channel's
name, the message's header, parent header, metadata and content as JSON, and its buffers. An offset
says where a part begins; the last one where the frame ends.
"""

from __future__ import annotations

import itertools
from typing import Any

from jupyter_client.jsonutil import extract_dates
from jupyter_client.session import json_packer, json_unpacker

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"
_WORD = 8
_PARTS = ("header", "parent_header", "metadata", "content")


def encode(channel: str, message: dict[str, Any]) -> bytes:
    """A frame with a message, as jupyter_client's Session makes one, for a channel."""
    parts = [channel.encode(), *(json_packer(message[part]) for part in _PARTS)]
    parts += [bytes(buffer) for buffer in message.get("buffers") or []]
    first = _WORD * (len(parts) + 2)
    offsets = itertools.accumulate(map(len, parts), initial=first)
    numbers = [len(parts) + 1, *offsets]
    return b"".join([number.to_bytes(_WORD, "little") for number in numbers] + parts)


def decode(frame: bytes) -> tuple[str, dict[str, Any]]:
    """A frame's channel and message. Raises ValueError for what is no frame."""
    count = int.from_bytes(frame[:_WORD], "little")
    if count < len(_PARTS) + 2 or _WORD * (count + 1) > len(frame):
        raise ValueError(f"{len(frame)} bytes from the gateway are no Jupyter message")
    offsets = [
        int.from_bytes(frame[_WORD * i : _WORD * (i + 1)], "little") for i in range(1, count + 1)
    ]
    channel, *parts = (frame[start:end] for start, end in itertools.pairwise(offsets))
    message = {
        name: json_unpacker(part) for name, part in zip(_PARTS, parts[: len(_PARTS)], strict=True)
    }
    message["header"] = extract_dates(message["header"])
    message["msg_id"] = message["header"]["msg_id"]
    message["msg_type"] = message["header"]["msg_type"]
    message["buffers"] = [memoryview(part) for part in parts[len(_PARTS) :]]
    return channel.decode(), message
