"""Lines for the hub's spawn page, from several sources at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

Event = dict[str, Any]


class Notices:
    """Lines that come up during a start. Whoever reads sees all of them, from the first on."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._closed = False
        self._changed = asyncio.Event()

    def add(self, line: str) -> None:
        """Say something, once."""
        if line not in self._lines:
            self._lines.append(line)
            self._wake()

    def close(self) -> None:
        """There is nothing more to come."""
        self._closed = True
        self._wake()

    async def events(self) -> AsyncGenerator[Event, None]:
        """The lines as the spawn page takes them, until `close`."""
        shown = 0
        while True:
            changed = self._changed
            while shown < len(self._lines):
                shown += 1
                yield {"message": self._lines[shown - 1]}
            if self._closed:
                return
            await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def merged(*sources: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """All events of all sources, each as soon as it comes. A source's error ends it."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def pump(source: AsyncIterator[Event]) -> None:
        try:
            async for event in source:
                queue.put_nowait(event)
        finally:
            queue.put_nowait(None)

    tasks = [asyncio.create_task(pump(source)) for source in sources]
    try:
        running = len(tasks)
        while running:
            event = await queue.get()
            if event is None:
                running -= 1
            else:
                yield event
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
