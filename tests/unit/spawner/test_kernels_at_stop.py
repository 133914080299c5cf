"""A stop that somebody asked for is told from one that just happened."""

from __future__ import annotations

import asyncio

from elastic_spawner.kernels_at_stop import KnowsWhyItStops


class Pod:
    """What KubeSpawner does in these methods, as far as it matters here."""

    dead = False
    stops = 0
    _spawn_future: asyncio.Future[None] | None = None

    def start(self) -> str:
        return "started"

    async def poll(self) -> int | None:
        if not self.dead:
            return None
        await self.stop(now=True)  # clears the dead pod away
        return 137

    async def stop(self, now: bool = False) -> None:
        await asyncio.sleep(0)
        self.stops += 1


class Server(KnowsWhyItStops, Pod):  # type: ignore[misc]
    async def ended(self) -> bool:
        """As the hub does it: look, stop what runs, run the hooks; whether kernels end."""
        if await self.poll() is None:
            await self.stop()
        return self.stop_was_asked_for


async def test_a_server_that_runs_is_asked_to_stop() -> None:
    server = Server()

    assert await server.ended()
    assert server.stops == 1


async def test_one_that_is_found_dead_was_not() -> None:
    server = Server()
    server.dead = True

    assert not await server.ended()
    assert server.stops == 1


async def test_a_look_at_one_server_is_no_excuse_for_another() -> None:
    first, second = Server(), Server()
    first.dead = True

    assert await asyncio.gather(first.ended(), second.ended()) == [False, True]


async def test_a_start_that_fails_asks_for_nothing() -> None:
    server = Server()
    server._spawn_future = asyncio.get_running_loop().create_future()

    assert not await server.ended()


async def test_a_start_that_was_given_up_does() -> None:
    server = Server()
    server._spawn_future = asyncio.get_running_loop().create_future()
    server._spawn_future.cancel()

    assert await server.ended()


async def test_the_next_start_forgets() -> None:
    server = Server()
    await server.ended()

    assert server.start() == "started"
    server.dead = True
    assert not await server.ended()
