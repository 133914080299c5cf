"""A kernel's websocket, as a browser has it: cells go in, and what comes of them is gathered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

_MESSAGES = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


@dataclass
class Execution:
    """What came of running one cell."""

    status: str = ""
    text: str = ""
    error: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def connected(
    session: aiohttp.ClientSession, channels: URL, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Connection]:
    """A kernel's websocket at its URL `channels`, which is listened to in the block."""
    name = uuid.uuid4().hex
    url = channels.with_query(session_id=name)
    async with session.ws_connect(url, max_msg_size=0, headers=headers) as websocket:
        connection = Connection(websocket, name)
        listening = asyncio.create_task(connection.listen())
        try:
            yield connection
        finally:
            listening.cancel()
            await asyncio.wait([listening])


class Connection:
    """Jupyter's message protocol over one websocket."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._websocket = websocket
        self._session = session
        self._frames: asyncio.Queue[aiohttp.WSMessage] = asyncio.Queue()
        # What came of cells that nobody has asked for yet: the channels overtake one another.
        self._early: dict[str, list[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take what comes until the websocket is closed: pings, too, are answered in here only."""
        frame = await self._websocket.receive()
        while frame.type in _MESSAGES:
            self._frames.put_nowait(frame)
            frame = await self._websocket.receive()
        self._frames.put_nowait(frame)

    async def send(self, channel: str, msg_type: str, content: dict[str, Any]) -> str:
        """Send one message; returns its id."""
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "session": self._session,
            "username": "",
            "version": "5.3",
            "date": "",
        }
        await self._websocket.send_json(
            {
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": channel,
                "buffers": [],
            }
        )
        return msg_id

    async def receive(self, *, timeout: float) -> dict[str, Any]:
        """The next message. Raises ConnectionError when the websocket was closed."""
        frame = await asyncio.wait_for(self._frames.get(), timeout)
        if frame.type not in _MESSAGES:
            self._frames.put_nowait(frame)  # for whoever asks again
            raise ConnectionError(f"the kernel's websocket is {frame.type.name}: {frame.extra}")
        if frame.type is aiohttp.WSMsgType.TEXT:
            message: dict[str, Any] = json.loads(frame.data)
            return message
        return {"msg_type": "binary", "parent_header": {}, "content": {}, "channel": ""}

    async def submit(self, code: str) -> str:
        """Send a cell without waiting for what comes of it; returns the message's id."""
        msg_id = await self.send(
            "shell",
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )
        self._early[msg_id] = []
        return msg_id

    async def execute(self, code: str, *, timeout: float = 60) -> Execution:
        """Run one cell and gather its output until both the reply and the idle have come."""
        return await self.result(await self.submit(code), timeout=timeout)

    async def result(self, msg_id: str, *, timeout: float = 60) -> Execution:
        """Gather what came of a cell sent with `submit`."""
        result = Execution()
        replied = idle = clear = False
        early = self._early.pop(msg_id, [])
        async with asyncio.timeout(timeout):
            while not (replied and idle):
                message = early.pop(0) if early else await self.receive(timeout=timeout)
                parent = str((message.get("parent_header") or {}).get("msg_id"))
                if parent != msg_id:
                    self._early.get(parent, []).append(message)
                    continue
                result.messages.append(message)
                content, kind = message["content"], message["header"]["msg_type"]
                if kind == "clear_output":
                    clear = content["wait"]
                    result.text = result.text if clear else ""
                elif kind in ("stream", "execute_result", "display_data"):
                    text = content["text"] if kind == "stream" else _plain(content["data"])
                    result.text, clear = ("" if clear else result.text) + text, False
                elif kind == "error":
                    result.error = f"{content['ename']}: {content['evalue']}"
                elif kind == "execute_reply":
                    replied, result.status = True, content["status"]
                elif kind == "status":
                    idle = content["execution_state"] == "idle"
        return result


def _plain(data: dict[str, str]) -> str:
    return data.get("text/plain", "")
