"""The cluster's GPUs: who has them where, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Pool:
    """Nodes with GPUs. All times in seconds."""

    def __init__(self, nodes: int, gpus_per_node: int) -> None:
        self._free = {f"node-{n}": gpus_per_node for n in range(nodes)}
        self._size = gpus_per_node
        self._now = 0.0
        self.held = 0
        self.held_seconds = 0.0
        # When how many were held, whenever that changed.
        self.timeline: list[tuple[float, int]] = [(0.0, 0)]

    @property
    def free(self) -> Mapping[str, int]:
        """GPUs that are free, by node."""
        return self._free

    def find(self, gpus: int) -> str | None:
        """The fullest node that has so many free; None where there is none."""
        fitting = [(free, node) for node, free in self._free.items() if free >= gpus]
        return min(fitting)[1] if fitting else None

    def take(self, node: str, gpus: int, now: float) -> None:
        """Hold them."""
        self._move(node, -gpus, now)

    def give(self, node: str, gpus: int, now: float) -> None:
        """Hold them no longer."""
        self._move(node, gpus, now)

    def _move(self, node: str, gpus: int, now: float) -> None:
        self._free[node] += gpus
        if not 0 <= self._free[node] <= self._size:
            raise ValueError(f"{node}: {self._free[node]} of {self._size} GPUs free at {now} s")
        self.held_seconds += self.held * (now - self._now)
        self.held -= gpus
        self._now = now
        self.timeline.append((now, self.held))

    def sampled(self, step: float, until: float) -> Iterator[tuple[float, int]]:
        """How many are held at every `step` seconds."""
        at, held, changes = 0.0, 0, iter([*self.timeline, (float("inf"), 0)])
        change = next(changes)
        while at <= until:
            while change[0] <= at:
                held = change[1]
                change = next(changes)
            yield at, held
            at += step
