"""What the gateway does when it has no news of the cluster any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from elastic_spawner.gateway.app import ElasticGatewayApp
from elastic_spawner.gateway.runtime import Runtime

DEADLINE = 20.0


class Cache:
    """A watch that ends when it is told to."""

    def __init__(self) -> None:
        self.broken = asyncio.Event()

    async def run(self) -> None:
        await self.broken.wait()
        raise KeyError("metadata")


async def test_a_watch_that_ends_ends_the_process() -> None:
    watches: list[Any] = [Cache() for _ in range(4)]
    nothing: Any = None
    runtime = Runtime(
        settings=nothing,
        cluster=nothing,
        gateway=SimpleNamespace(cache=watches[0]),  # type: ignore[arg-type]
        kernels=watches[1],
        specs=watches[2],
        templates=watches[3],
        catalog=nothing,
        authenticator=nothing,
        reporter=nothing,
    )
    app: Any = SimpleNamespace(runtime=runtime)
    runtime.watch()
    try:
        asked = asyncio.Event()
        asked.set()
        await asyncio.wait_for(ElasticGatewayApp._stopped(app, asked), DEADLINE)
        watches[1].broken.set()
        with pytest.raises(KeyError, match="metadata"):
            await asyncio.wait_for(ElasticGatewayApp._stopped(app, asyncio.Event()), DEADLINE)
    finally:
        await runtime.stop_watching()
