"""What nodes have free, as far as it is known, and who would fit there. Pure.

Known is what nodes have for pods and what the kernels' own pods hold of it. What else runs on a
node isn't: the scheduler has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

# Amounts by the name of the resource.
Amounts = Mapping[str, Decimal]

_NOTHING = Decimal(0)


class Room:
    """What each node has free. `take` and `give` keep the account."""

    def __init__(self, free: Mapping[str, Amounts]) -> None:
        self._free = {node: dict(amounts) for node, amounts in free.items()}
        # What did not fit since something was given back last: many ask for the same.
        self._in_vain: set[tuple[frozenset[tuple[str, Decimal]], frozenset[str]]] = set()

    def copy(self) -> Room:
        """An account of its own, as this one is now."""
        return Room(self._free)

    def of(self, node: str) -> dict[str, Decimal]:
        """What a node has free."""
        return dict(self._free.get(node, {}))

    def take(self, amounts: Amounts, nodes: Collection[str] | None) -> str | None:
        """Take a place on one of the nodes; its name, None where there is none.

        The one that has the least left of it, so that larger ones find room elsewhere. nodes:
        those that come into question, None where that isn't known, and then there is none.
        """
        if nodes is None:
            return None
        signature = (frozenset(amounts.items()), frozenset(nodes))
        if signature in self._in_vain:
            return None
        fitting = [node for node in nodes if self.fits(amounts, node)]
        if not fitting:
            self._in_vain.add(signature)
            return None
        chosen = min(fitting, key=lambda node: (self._left(amounts, node), node))
        self._add(chosen, amounts, -1)
        return chosen

    def has(self, amounts: Amounts, nodes: Collection[str] | None) -> bool:
        """Whether there is a place on one of the nodes."""
        return any(self.fits(amounts, node) for node in nodes or ())

    def take_on(self, amounts: Amounts, node: str) -> None:
        """Take a place on that node, which may be more than it has."""
        self._add(node, amounts, -1)

    def give(self, amounts: Amounts, node: str) -> None:
        """What is given back, or will be in a moment."""
        if node in self._free:
            self._add(node, amounts, 1)
            self._in_vain.clear()

    def fits(self, amounts: Amounts, node: str) -> bool:
        """Whether that is free on that node."""
        free = self._free.get(node)
        return free is not None and all(
            free.get(name, _NOTHING) >= amount for name, amount in amounts.items()
        )

    def lower(self, resource: str, most: Decimal, nodes: Iterable[str]) -> None:
        """No more than that is free on those nodes, by who knows better."""
        for node in nodes:
            free = self._free.get(node)
            if free is not None and resource in free:
                free[resource] = min(free[resource], most)

    def _left(self, amounts: Amounts, node: str) -> list[Decimal]:
        free = self._free[node]
        # Devices before what every node has.
        names = sorted(amounts, key=lambda name: ("/" not in name, name))
        return [free[name] - amounts[name] for name in names]

    def _add(self, node: str, amounts: Amounts, sign: int) -> None:
        free = self._free[node]
        for name, amount in amounts.items():
            free[name] = free.get(name, _NOTHING) + sign * amount
