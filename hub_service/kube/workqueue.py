"""Keys that wait to be worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from hub_service.kube.backoff import Backoff

K = TypeVar("K", bound=Hashable)

# While urgent keys wait, one in so many is another that waits, so that those come on as well.
_OTHERS_TURN = 8


class WorkQueue(Generic[K]):
    """A queue in which a key is present once, and never with two workers at a time.

    A key added while a worker has it comes again after `done`. Each key has one timer:
    `add_after` and `add_after_failure` replace it, since whoever asks last knows best when the
    key is next worth looking at.

    `is_urgent`: whether a key, as it begins to wait, goes before those that aren't.
    """

    def __init__(
        self,
        *,
        first_delay: float = 0.05,
        most_delay: float = 60.0,
        is_urgent: Callable[[K], bool] = lambda _: False,
    ) -> None:
        self._first_delay = first_delay
        self._most_delay = most_delay
        self._is_urgent = is_urgent
        self._urgent: deque[K] = deque()
        self._others: deque[K] = deque()
        self._turn = 0
        self._wanted: set[K] = set()  # in one of the two, or to be put there by `done`
        self._working: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, Backoff] = {}
        self._wake = asyncio.Semaphore(0)

    def __len__(self) -> int:
        return len(self._wanted)

    def add(self, key: K) -> None:
        """Ask for a key to be worked on as soon as possible."""
        if key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._working:
            self._push(key)

    def add_after(self, key: K, delay: float) -> None:
        """Ask for a key to be worked on in `delay` seconds, instead of when a timer said before."""
        self.cancel_timer(key)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(max(delay, 0.0), self._fire, key)

    def add_within(self, key: K, delay: float) -> None:
        """Ask for a key to be worked on in `delay` seconds at the latest.

        However often that is asked meanwhile, it is worked on once.
        """
        if key in self._wanted:
            return
        timer = self._timers.get(key)
        if timer is None or timer.when() > asyncio.get_running_loop().time() + delay:
            self.add_after(key, delay)

    def add_after_failure(self, key: K) -> float:
        """Ask for another try, later after each failure since `forget`; the delay in seconds."""
        if key not in self._failures:
            self._failures[key] = Backoff(self._first_delay, self._most_delay)
        delay = self._failures[key].next()
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Work on the key succeeded: its failures no longer count."""
        self._failures.pop(key, None)

    def cancel_timer(self, key: K) -> None:
        """Drop what `add_after` asked for."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def get(self) -> K:
        """The next key, once there is one. Call `done` with it when its work has ended."""
        await self._wake.acquire()
        self._turn = (self._turn + 1) % _OTHERS_TURN
        lanes = (self._urgent, self._others) if self._turn else (self._others, self._urgent)
        key = (lanes[0] or lanes[1]).popleft()
        self._wanted.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker has finished with the key, well or not."""
        self._working.discard(key)
        if key in self._wanted:
            self._push(key)

    def close(self) -> None:
        """Cancel all timers."""
        for key in list(self._timers):
            self.cancel_timer(key)

    def _push(self, key: K) -> None:
        (self._urgent if self._is_urgent(key) else self._others).append(key)
        self._wake.release()

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
