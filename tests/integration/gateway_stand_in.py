"""A gateway for the service to ask: a small real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from hub_service.kinds import Object
from tests.integration.support import DEADLINE

# Of kernels that it serves.
GATEWAY = {"gateway": {"name": "shared"}}


class StandIn:
    """Answers what the test tells it to, and notes what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (200, {"sealed": True})
        self.answers: dict[str, tuple[int, Any]] = {}  # to certain steps
        self.asked: list[tuple[str, str, Object]] = []
        self.url = ""
        self._changed = asyncio.Condition()

    async def cull(self, request: web.Request) -> web.Response:
        async with self._changed:
            self.asked.append(
                (
                    request.match_info["kernel"],
                    request.headers["Authorization"],
                    await request.json(),
                )
            )
            self._changed.notify_all()
        step = self.asked[-1][2].get("step", "")
        status, body = self.answers.get(step, self.answer)
        return web.json_response(body, status=status)

    async def was_asked(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= times)


@asynccontextmanager
async def listening() -> AsyncIterator[StandIn]:
    """One that runs."""
    gateway = StandIn()
    application = web.Application()
    application.router.add_post("/api/kernels/{kernel}/cull", gateway.cull)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway
    finally:
        await runner.cleanup()
