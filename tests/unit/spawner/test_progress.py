"""Lines for the spawn page, from several sources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from elastic_spawner.progress import Notices, merged


async def test_every_reader_sees_all_lines_once_and_ends_with_the_start() -> None:
    notices = Notices()
    notices.add("one")
    early = asyncio.create_task(_all(notices.events()))
    await asyncio.sleep(0)
    notices.add("two")
    notices.add("one")
    notices.close()

    assert await early == ["one", "two"]
    assert await _all(notices.events()) == ["one", "two"]


async def test_lines_come_while_another_source_is_silent() -> None:
    notices = Notices()
    gate = asyncio.Event()

    async def pods() -> AsyncIterator[dict[str, Any]]:
        await gate.wait()
        yield {"message": "pod"}

    events = merged(pods(), notices.events())
    notices.add("gateway")
    assert (await anext(events))["message"] == "gateway"
    gate.set()
    assert (await anext(events))["message"] == "pod"
    notices.close()
    assert await _all(events) == []


async def test_a_failing_source_is_told() -> None:
    async def broken() -> AsyncIterator[dict[str, Any]]:
        yield {"message": "first"}
        raise ValueError("broken")

    events = merged(broken())
    assert (await anext(events))["message"] == "first"
    with pytest.raises(ValueError, match="broken"):
        await anext(events)


async def _all(events: AsyncIterator[dict[str, Any]]) -> list[str]:
    return [event["message"] async for event in events]
