"""One race: many starts of several users at once, ends in between, a leader that is killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from hub_service.kernels.kernel import is_admitted, is_decided
from hub_service.kinds import Object, condition, is_deleting, spec_of
from tests.quota_races.history import History, peaks
from tests.quota_races.services import Services
from tests.quota_races.starters import Starter

LIMIT = 2
# Seconds after which nothing more is expected to happen: a Lease that runs out takes fifteen.
_DEADLINE = 90.0


@dataclass(frozen=True)
class Outcome:
    """What came of a race: its seed, starts and ends asked for, the most that anybody had at a
    time, and what was killed.
    """

    seed: int
    when_full: str
    users: int
    starts: int
    ends: int
    most: int
    killed: str
    seconds: float


class Race:
    """`kill`: what becomes of the leader: `nothing`, its `worker` is killed, or its `pod`."""

    def __init__(
        self,
        seed: int,
        *,
        history: History,
        services: Services,
        starter: Starter,
        when_full: str,
        kill: str,
        users: list[str],
        starts: int,
    ) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._history = history
        self._services = services
        self._starter = starter
        self._when_full = when_full
        self._kill = kill
        self._users = users
        self._wanted = starts
        self._asked = 0
        self._made: set[str] = set()
        self._ended = 0

    async def run(self) -> Outcome:
        """Run it and judge it. AssertionError with what went wrong."""
        began = time.monotonic()
        burst = [self._users[n % len(self._users)] for n in range(self._wanted)]
        self._random.shuffle(burst)
        await asyncio.gather(*(self._start(user) for user in burst), self._strike())
        await self._settled()
        self._exactly()
        await self._starts_and_ends()
        await self._settled()
        if self._when_full == "refuse":
            # Whoever was refused while others held the places comes again.
            await asyncio.gather(*(self._start(user) for user in self._users * LIMIT))
            await self._settled()
        self._exactly()
        most = self._most()
        await asyncio.gather(*(self._starter.end(kernel) for kernel in self._mine()))
        await self._until(lambda: not self._mine(), "all kernels to be gone")
        return Outcome(
            seed=self._seed,
            when_full=self._when_full,
            users=len(self._users),
            starts=self._asked,
            ends=self._ended,
            most=most,
            killed=self._kill,
            seconds=round(time.monotonic() - began, 1),
        )

    async def _strike(self) -> None:
        """Kill the leader once some of the starts have got as far as the cluster."""
        if self._kill != "nothing":
            enough = self._random.randrange(1, self._wanted // 2)
            await self._until(lambda: len(self._mine()) >= enough, f"{enough} kernels to be there")
            await self._services.kill_leader(pod=self._kill == "pod")

    async def _starts_and_ends(self) -> None:
        """A stream of ends of kernels at random and of starts, none waiting for another."""

        def end() -> asyncio.Task[None]:
            held = [kernel for kernel in self._mine() if not self._is_refused(kernel)]
            if not held:
                return asyncio.create_task(self._start(self._random.choice(self._users)))
            self._ended += 1
            return asyncio.create_task(self._starter.end(self._random.choice(held)))

        def start() -> asyncio.Task[None]:
            return asyncio.create_task(self._start(self._random.choice(self._users)))

        turns = [*[end] * (2 * len(self._users)), *[start] * (3 * len(self._users))]
        self._random.shuffle(turns)
        tasks = []
        for turn in turns:
            tasks.append(turn())
            if self._random.random() < 0.5:
                await self._history.changed(0.2)
        await asyncio.gather(*tasks)

    async def _start(self, user: str) -> None:
        self._asked += 1
        kernel_id = await self._starter.start(user)
        if kernel_id is not None:
            self._made.add(kernel_id)

    async def _settled(self) -> None:
        """Return once each start was decided, or waits though nothing is left for it.

        The watch may be behind what the starters know.
        """
        await self._until(
            lambda: (
                self._made <= self._history.seen
                and all(map(self._is_settled, self._mine()))
                and not self._has_room()
            ),
            "all starts to be decided, and nobody to wait where there is room",
        )

    def _is_settled(self, kernel: Object) -> bool:
        return is_decided(kernel) or (self._when_full == "wait" and waits(kernel))

    def _has_room(self) -> bool:
        """Whether anybody waits who has fewer kernels than they may have."""
        held = self._held()
        return any(waits(kernel) and held[_owner(kernel)] < LIMIT for kernel in self._mine())

    def _exactly(self) -> None:
        held = self._held()
        wrong = {user: held[user] for user in self._users if held[user] != LIMIT}
        assert not wrong, f"seed {self._seed}: {LIMIT} kernels each, but {wrong}"

    def _most(self) -> int:
        found = peaks(self._history.events)
        mine = {user: found[user] for user in self._users}
        passed = {user: peak for user, peak in mine.items() if peak.count > LIMIT}
        assert not passed, f"seed {self._seed}: the limit of {LIMIT} was passed: {passed}"
        return max(peak.count for peak in mine.values())

    def _held(self) -> Counter[str]:
        return Counter(_owner(kernel) for kernel in self._mine() if is_admitted(kernel))

    def _mine(self) -> list[Object]:
        users = set(self._users)
        return [
            kernel
            for kernel in self._history.kernels.values()
            if _owner(kernel) in users and not is_deleting(kernel)
        ]

    @staticmethod
    def _is_refused(kernel: Object) -> bool:
        return is_decided(kernel) and not is_admitted(kernel)

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                while not holds():
                    await self._history.changed(5.0)
        except TimeoutError:
            states = Counter((_owner(k), str(condition(k, "Admitted"))) for k in self._mine())
            raise AssertionError(
                f"seed {self._seed}: not within {_DEADLINE} s: {what}; there are {states}"
            ) from None


def waits(kernel: Object) -> bool:
    """Whether a kernel waits for others of its owner."""
    entry = condition(kernel, "Running") or {}
    return entry.get("reason") == "WaitingForQuota" and not is_decided(kernel)


def _owner(kernel: Object) -> str:
    return str(spec_of(kernel).get("owner"))
