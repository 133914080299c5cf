"""The heartbeat, at real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest_asyncio
import zmq
import zmq.asyncio

from elastic_spawner.gateway.heart import Heart

DEADLINE = 20.0


class Kernel:
    """Answers pings while `beating`; `asked`: how many there were."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = zmq.asyncio.Context.shadow(context.underlying).socket(zmq.REP)
        self.socket.linger = 0
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.beating = asyncio.Event()
        self.asked = 0
        self.changed = asyncio.Condition()

    async def run(self) -> None:
        while True:
            await self.beating.wait()
            message = await self.socket.recv_multipart()
            async with self.changed:
                self.asked += 1
                self.changed.notify_all()
            await self.socket.send_multipart(message)

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE), self.changed:
            await self.changed.wait_for(lambda: self.asked >= times)


@pytest_asyncio.fixture
async def kernel() -> AsyncIterator[Kernel]:
    context = zmq.Context()
    kernel = Kernel(context)
    kernel.beating.set()
    task = asyncio.create_task(kernel.run())
    yield kernel
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    kernel.socket.close()
    context.term()


class Watched:
    """A heart whose kernel is idle or not, and how often it has changed."""

    def __init__(self) -> None:
        self.idle = True
        self.changed = asyncio.Event()
        self.context = zmq.Context()
        self.heart = Heart(self.context, lambda: self.idle, self.changed.set, interval=0.05)

    async def change(self) -> None:
        await asyncio.wait_for(self.changed.wait(), DEADLINE)
        self.changed.clear()


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    yield watched
    watched.heart.stop()
    watched.context.term()


async def test_a_heart_that_stops_and_goes_on(kernel: Kernel, watched: Watched) -> None:
    watched.heart.start("127.0.0.1", kernel.port)
    await kernel.until_asked(3)
    assert watched.heart.lost_since is None
    assert not watched.changed.is_set()

    kernel.beating.clear()
    await watched.change()
    assert watched.heart.lost_since is not None
    watched.idle = False  # somebody sends a cell: that makes it no better

    kernel.beating.set()
    await watched.change()
    assert watched.heart.lost_since is None


async def test_a_busy_kernel_is_not_even_asked(kernel: Kernel, watched: Watched) -> None:
    watched.heart.start("127.0.0.1", kernel.port)
    await kernel.until_asked(1)
    kernel.beating.clear()
    watched.idle = False
    # As many rounds as would tell, and more.
    await asyncio.sleep(0.5)
    assert watched.heart.lost_since is None
    watched.idle = True
    await watched.change()
    assert watched.heart.lost_since is not None
    watched.heart.beats()  # it said something on another channel
    assert watched.heart.lost_since is None


async def test_what_cannot_be_reached_is_not_called_dead(kernel: Kernel, watched: Watched) -> None:
    watched.heart.start("127.0.0.1", kernel.port)
    await kernel.until_asked(1)
    kernel.beating.clear()
    await watched.change()
    assert watched.heart.lost_since is not None

    kernel.socket.close()  # the connection is gone: there is nothing to be said any more

    await watched.change()
    assert watched.heart.lost_since is None


async def test_one_that_never_answered_is_lost_until_it_does(
    kernel: Kernel, watched: Watched
) -> None:
    kernel.socket.unbind(f"tcp://127.0.0.1:{kernel.port}")
    watched.heart.start("127.0.0.1", kernel.port)
    watched.idle = False
    since = datetime.now(UTC)
    watched.heart.never_answered(since)
    await watched.change()
    # As many rounds as would tell otherwise, and more.
    await asyncio.sleep(0.5)
    assert watched.heart.lost_since == since
    kernel.socket.bind(f"tcp://127.0.0.1:{kernel.port}")
    await watched.change()
    assert watched.heart.lost_since is None
