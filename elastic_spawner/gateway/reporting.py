"""Writing what kernels do into their resources: `status.activity`, and nothing else of it.

Written when something worth knowing has changed, at most once a second for each kernel; what
happens in between is left out, since only the latest counts. A kernel's first answer is written
without delay: how an end is explained depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from elastic_spawner.gateway.activity import worth_reporting
from hub_service.kinds import STARTING
from hub_service.kube import ApiError

log = logging.getLogger(__name__)

Write = Callable[[str, dict[str, Any]], Awaitable[None]]

_INTERVAL = 1.0
_MAX_DELAY = 30.0


class ActivityReporter:
    """Coalesces reports for each kernel.

    write: stores an activity (second argument) in the JupyterKernel of that name (first).
    """

    def __init__(self, write: Write, *, interval: float = _INTERVAL) -> None:
        self._write = write
        self._interval = interval
        self._wanted: dict[str, dict[str, Any]] = {}
        self._written: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._latest: dict[str, dict[str, Any]] = {}  # written, or being written
        self._hurry: dict[str, asyncio.Event] = {}
        self._flushing = False

    def report(self, name: str, activity: dict[str, Any]) -> None:
        """Have `activity` written: at once, or a second after the last time."""
        if name not in self._wanted and not worth_reporting(self._written.get(name), activity):
            return
        self._wanted[name] = activity
        if name not in self._tasks:
            self._hurry[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._run(name))
        elif _is_starting(self._latest.get(name)) and not _is_starting(activity):
            self._hurry[name].set()

    def knows(self, name: str, activity: dict[str, Any]) -> None:
        """That activity stands in the kernel's resource already."""
        self._written[name] = self._latest[name] = activity

    def forget(self, name: str) -> None:
        """The kernel has ended: nothing more is written for it."""
        self._wanted.pop(name, None)
        self._written.pop(name, None)
        self._latest.pop(name, None)
        self._hurry.pop(name, None)
        if task := self._tasks.pop(name, None):
            task.cancel()

    async def flush(self, timeout: float) -> None:
        """Write what is still to be written, for that many seconds at most."""
        self._flushing = True
        for hurry in self._hurry.values():
            hurry.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout)

    async def close(self) -> None:
        """Stop writing."""
        tasks = list(self._tasks.values())
        for name in list(self._tasks):
            self.forget(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str) -> None:
        delay, hurry = self._interval, self._hurry[name]
        while (activity := self._wanted.pop(name, None)) is not None:
            hurry.clear()
            self._latest[name] = activity
            try:
                await self._write(name, activity)
            except ApiError as error:
                if error.status == 404:
                    break  # deleted; the watch will say so
                log.warning("activity of %s not written: %s; trying again", name, error)
                if self._flushing:
                    break
                self._wanted.setdefault(name, activity)
                delay = min(delay * 2, _MAX_DELAY)
            else:
                self._written[name] = activity
                delay = self._interval
            if not self._flushing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(hurry.wait(), delay)
        self._tasks.pop(name, None)
        self._hurry.pop(name, None)


def _is_starting(activity: dict[str, Any] | None) -> bool:
    return activity is None or activity["executionState"] == STARTING
