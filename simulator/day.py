"""People who work through a day's trace, in virtual time. All times in seconds since midnight.

Somebody who has to wait goes on later: the gap to the next training begins when the last one ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simulator.pool import Pool
from simulator.trace import Session


@dataclass(frozen=True)
class Costs:
    """Seconds that things take.

    start: from a pod's place on a node to the kernel's first answer. stop: from a kernel's end to
    its GPUs' being free. reload: what somebody runs again in a kernel that lost its variables.
    """

    start: float = 1.4
    stop: float = 0.75
    reload: float = 60.0


@dataclass(eq=False)
class Person:
    """Somebody with a session; `done`: how many of its trainings are over."""

    session: Session
    done: int = 0
    working: bool = False
    wanted: float | None = None
    waited: float = 0.0
    ends: float = 0.0


class Strategy(Protocol):
    """Who holds GPUs when."""

    def open(self, person: Person) -> None:
        """A session begins. To call Day.begin once its notebook is there."""

    def want(self, person: Person) -> None:
        """Somebody runs a cell. To call Day.execute once there are GPUs for it."""

    def finished(self, person: Person) -> None:
        """A cell has ended."""

    def close(self, person: Person) -> None:
        """A session has ended."""


class Day:
    """A clock, a cluster, and what people met."""

    def __init__(self, pool: Pool, costs: Costs) -> None:
        self.pool = pool
        self.costs = costs
        self.now = 0.0
        self.used_seconds = 0.0
        # Of each cell, from when it was run to when it began; of sessions, to their notebook.
        self.cell_waits: list[float] = []
        self.login_waits: list[float] = []
        self.kernels_started = 0
        self.kernels_ended_idle = 0
        self.kernels_reclaimed = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._strategy: Strategy | None = None
        self._left = 0

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Have something done then."""
        self._count += 1
        heapq.heappush(self._events, (max(moment, self.now), self._count, act))

    def run(self, sessions: Sequence[Session], strategy: Strategy) -> None:
        """Let them all work until the last has gone home."""
        self._strategy, self._left = strategy, len(sessions)
        for session in sessions:
            person = Person(session)
            self.at(session.opened, lambda person=person: strategy.open(person))  # type: ignore[misc]
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
        if self._left:
            raise RuntimeError(f"{self._left} sessions never ended: is a node large enough?")

    @property
    def is_over(self) -> bool:
        """Whether all have gone home."""
        return not self._left

    def begin(self, person: Person) -> None:
        """Somebody has a notebook."""
        waited = self.now - person.session.opened
        self.login_waits.append(waited)
        person.waited = waited
        person.ends = self.now + person.session.length
        self._next(person)

    def execute(self, person: Person, preparing: float) -> None:
        """Somebody's cell begins in so many seconds."""
        wanted = self.now if person.wanted is None else person.wanted
        self.cell_waits.append(self.now + preparing - wanted + person.waited)
        person.wanted, person.waited, person.working = None, 0.0, True
        seconds = person.session.cells[person.done].seconds
        self.used_seconds += seconds * person.session.gpus
        self.at(self.now + preparing + seconds, lambda: self._finish(person))

    def _next(self, person: Person) -> None:
        cells = person.session.cells
        if person.done < len(cells):
            self.at(self.now + cells[person.done].gap, lambda: self._want(person))
        else:
            self.at(person.ends, lambda: self._close(person))

    def _want(self, person: Person) -> None:
        person.wanted = self.now
        self._of().want(person)

    def _finish(self, person: Person) -> None:
        person.done += 1
        person.working = False
        self._of().finished(person)
        self._next(person)

    def _close(self, person: Person) -> None:
        self._left -= 1
        self._of().close(person)

    def _of(self) -> Strategy:
        if self._strategy is None:
            raise RuntimeError("nothing runs")
        return self._strategy
