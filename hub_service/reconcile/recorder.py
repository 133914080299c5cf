"""Writes Events beside the work that they tell of: nothing waits for them, some may be lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from hub_service.kinds import EVENTS, Object, namespace_of
from hub_service.kube import ApiError, Cluster

log = logging.getLogger(__name__)

# Events that may wait to be written; more are lost, as after a burst of thousands of starts.
_MOST_WAITING = 1000
# Least seconds between two, once a burst is over that many may make.
_INTERVAL = 0.02
_BURST = 50


class Recorder:
    """`record` takes Events, `run` writes them at a pace that leaves the API server to others."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._queue: asyncio.Queue[Object] = asyncio.Queue(_MOST_WAITING)
        self._lost = 0

    def record(self, events: Iterable[Object]) -> None:
        """Have Events written, soon."""
        for event in events:
            try:
                self._queue.put_nowait(event)
            except asyncio.QueueFull:
                self._lost += 1

    async def run(self) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        allowed, seen = float(_BURST), loop.time()
        while True:
            event = await self._queue.get()
            allowed = min(allowed + (loop.time() - seen) / _INTERVAL, _BURST) - 1
            seen = loop.time()
            if allowed < 0:
                await asyncio.sleep(-allowed * _INTERVAL)
            await self._write(event)

    async def _write(self, event: Object) -> None:
        if self._lost and self._queue.empty():
            log.warning("%d events were not written: there were too many at once", self._lost)
            self._lost = 0
        try:
            await self._cluster.create(EVENTS, namespace_of(event), event)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                log.warning("an event was not written: %s", error)
