"""The line of those that wait for GPUs, and who of them goes on to the scheduler. Pure.

Fair is by GPUs held: next is whoever holds the fewest, and of those whoever waits longest. The
scheduler knows nothing of this, and takes pending pods as it likes. So the others wait behind a
scheduling gate, where it doesn't see them, and come through as there is room.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from hub_service.sharing.room import Amounts, Room


@dataclass(frozen=True)
class Waiting:
    """A start that has no node yet.

    key: namespace and name; owner: whoever shares with others, by name or label. gpus: how many it
    asks for; amounts: all that it asks for, by resource. line: those who wait for the same stand in
    one line. nodes: names of those that could take it if they were empty; None: not known.
    released: the scheduler sees it; refused: and has found too few GPUs for it. certain: nothing is
    known that would keep it from any of `nodes` but what is free there. short: other resources than
    GPUs that the scheduler has found too little of, on whichever node. promised: the scheduler ends
    others for it by itself. spare: nobody waits for it, so it comes after all others.
    """

    key: tuple[str, str]
    owner: str
    since: datetime
    gpus: int
    amounts: Amounts
    line: Hashable
    nodes: frozenset[str] | None = None
    released: bool = False
    refused: bool = False
    certain: bool = True
    short: frozenset[str] = frozenset()
    promised: bool = False
    spare: bool = False


def fair_order(waiting: Iterable[Waiting], held: Mapping[str, int]) -> list[Waiting]:
    """Who is next, and next after that; `held`: GPUs that owners have.

    What somebody is about to get counts as had for what else they wait for. Those that the
    scheduler sees are ahead of all others: nobody can take that back.
    """
    shares = dict(held)
    everyone = sorted(waiting, key=lambda one: (one.since, str(one.key)))
    order = [one for one in everyone if one.released]
    for one in order:
        shares[one.owner] = shares.get(one.owner, 0) + one.gpus
    of_owner: dict[str, list[Waiting]] = {}
    for one in reversed(everyone):
        if not one.released and not one.spare:
            of_owner.setdefault(one.owner, []).append(one)
    heads = [_place(own[-1], shares) for own in of_owner.values()]
    heapq.heapify(heads)
    while heads:
        *_, owner = heapq.heappop(heads)
        own = of_owner[owner]
        one = own.pop()
        order.append(one)
        shares[owner] = shares.get(owner, 0) + one.gpus
        if own:
            heapq.heappush(heads, _place(own[-1], shares))
    return order + [one for one in everyone if one.spare and not one.released]


def _place(one: Waiting, shares: Mapping[str, int]) -> tuple[int, datetime, str, str]:
    return shares.get(one.owner, 0), one.since, str(one.key), one.owner


@dataclass
class _Line:
    stuck: int = 0
    closed: bool = False


class Entrance:
    """Lets starts on to the scheduler: those that fit, and of the others `most` in each line.

    The latter keep the line moving where the cluster has more room than is known here, and are what
    autoscalers look at. Nobody overtakes within a line, but for those `most`.
    """

    def __init__(self, room: Room, most: int) -> None:
        self._room = room
        self._most = most
        self._lines: dict[Hashable, _Line] = {}

    def note(self, one: Waiting) -> None:
        """One that the scheduler sees already."""
        line = self._lines.setdefault(one.line, _Line())
        if one.nodes is not None and not one.nodes:
            return  # waits for a node that isn't there: nobody's place is taken by it
        if one.refused and not one.certain and self._room.has(one.amounts, one.nodes):
            return  # it isn't for a GPU that it waits there, and others may have that
        if one.refused and one.spare:
            return  # it goes as soon as the scheduler has none for somebody, who has to be let on
        if one.refused or self._room.take(one.amounts, one.nodes) is None:
            line.stuck += 1

    def lets_in(self, one: Waiting) -> bool:
        """Whether the next in its line goes on; to be asked in their order."""
        line = self._lines.setdefault(one.line, _Line())
        if line.closed:
            return False
        if not line.stuck and self._room.take(one.amounts, one.nodes) is not None:
            return True
        if line.stuck < self._most:
            line.stuck += 1
            return True
        line.closed = True
        return False
