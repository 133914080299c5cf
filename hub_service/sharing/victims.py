"""Which idle kernels end so that starts that wait get their GPUs. Pure.

The longest idle first; none where it would be of no help to the one that waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from hub_service import quantities
from hub_service.culling import Demand
from hub_service.sharing.line import Waiting
from hub_service.sharing.room import Amounts, Room


@dataclass(frozen=True)
class Holder:
    """An idle kernel that may be reclaimed, where it runs and what it would give back."""

    key: tuple[str, str]
    node: str
    amounts: Amounts
    idle_since: datetime


def is_lacking(order: Sequence[Waiting], room: Room) -> bool:
    """Whether there is somebody for whom there is no room."""
    return any(room.take(one.amounts, one.nodes) is None for one in order)


def believe_the_scheduler(order: Sequence[Waiting], room: Room) -> None:
    """Where the scheduler finds too few GPUs, others than kernels have what seems to be free."""
    for one in order:
        if not (one.refused and one.certain) or one.nodes is None:
            continue
        for name, amount in one.amounts.items():
            if quantities.is_gpu(name):
                room.lower(name, amount - 1, one.nodes)


def victims(
    waiting: Sequence[Waiting], holders: Sequence[Holder], room: Room
) -> dict[tuple[str, str], Waiting]:
    """The kernels to be ended, by key, and for whom.

    waiting: in their order; holders: those that may be reclaimed now, no others. room: what is
    free, and what is on its way to be, is taken by those first in line, and nothing ends for them.

    For one that waits, one kernel ends. Only where none is large enough alone, several do, on one
    node and as few as possible; where not even all of them would make room, none does. Nor does any
    for one that may be kept from a node by something else, or for which the scheduler ends others.
    """
    room = room.copy()
    left: dict[str, list[Holder]] = {}
    for holder in sorted(holders, key=lambda one: (one.idle_since, one.key)):
        left.setdefault(holder.node, []).append(holder)
    chosen: dict[tuple[str, str], Waiting] = {}
    hopeless = set()  # there is only less for those that come later
    for one in waiting:
        wants = (frozenset(one.amounts.items()), one.nodes, one.short)
        if one.promised or wants in hopeless:
            continue
        if room.take(one.amounts, one.nodes) is not None or not one.certain:
            continue
        found = _for_one(one, left, room)
        if not found:
            hopeless.add(wants)
            continue
        for holder in found:
            chosen[holder.key] = one
            left[holder.node].remove(holder)
            room.give(holder.amounts, holder.node)
        room.take_on(one.amounts, found[0].node)
    return chosen


def _for_one(one: Waiting, left: Mapping[str, Sequence[Holder]], room: Room) -> list[Holder]:
    """Who ends for one that waits: as few as possible, and of those the longest idle."""
    found = [
        enough
        for node in one.nodes or ()
        if (here := left.get(node)) and (enough := _on_node(one, here, room.of(node)))
    ]
    return min(found, key=lambda these: (len(these), these[0].idle_since, these[0].key), default=[])


def _on_node(one: Waiting, here: Sequence[Holder], free: Amounts) -> list[Holder]:
    """The longest idle ones of a node that together make room; empty where they don't."""
    # What the scheduler has found too little of is not there to be had, whatever is known of it.
    has = {name: Decimal(0) if name in one.short else amount for name, amount in free.items()}
    lacking = {
        name: amount - has.get(name, Decimal(0))
        for name, amount in one.amounts.items()
        if amount > has.get(name, Decimal(0))
    }
    gpus = [name for name in lacking if quantities.is_gpu(name)]
    helping = [holder for holder in here if any(name in holder.amounts for name in gpus)]
    alone = next((holder for holder in helping if _covers([holder], lacking)), None)
    if alone is not None:
        return [alone]
    taken: list[Holder] = []
    for holder in helping:
        taken.append(holder)
        if _covers(taken, lacking):
            return _without_needless(taken, lacking)
    return []


def _without_needless(taken: list[Holder], lacking: Amounts) -> list[Holder]:
    for holder in reversed(taken[:]):
        others = [one for one in taken if one is not holder]
        if _covers(others, lacking):
            taken = others
    return taken


def _covers(holders: Sequence[Holder], lacking: Amounts) -> bool:
    return all(
        sum((holder.amounts.get(name, Decimal(0)) for holder in holders), Decimal(0)) >= amount
        for name, amount in lacking.items()
    )


def demand(one: Waiting) -> Demand:
    """What a kernel that ends for one that waits is told; no names of people."""
    gpus = (quantities.words(n, a) for n, a in one.amounts.items() if quantities.is_gpu(n))
    return Demand(one.since, f"another start waits for {' and '.join(gpus)}")
