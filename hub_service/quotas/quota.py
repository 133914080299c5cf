"""Whether a kernel may have a pod: arithmetic on the kernels of its owner as they are now.

Pure. Whoever decides must let no other decision for the same owner come between looking at the
kernels and remembering what was admitted (`assumed`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hub_service import quantities
from hub_service.kernels.kernel import is_admitted, is_decided, is_finished
from hub_service.kinds import Object, Reason, is_deleting, spec_of, uid_of
from hub_service.quotas import quota_words
from hub_service.quotas.limits import KERNELS, Limit
from hub_service.quotas.quota_words import Shortage

REFUSE = "refuse"
WAIT = "wait"
ADMIT = "admit"


class Decision(NamedTuple):
    """What becomes of a kernel (`ADMIT`, `REFUSE` or `WAIT`), and a reason and message for it.

    before: how many of its owner's kernels wait before one that waits.
    """

    verdict: str
    reason: str
    message: str
    before: int = 0

    @property
    def admitted(self) -> bool:
        """Whether the kernel may have a pod."""
        return self.verdict == ADMIT


@dataclass(frozen=True)
class Rules:
    """What the administrator set for starts over a limit.

    when_full: `REFUSE` them at once, or let them `WAIT` for another of the user's kernels to end.
    contact: whom to ask for more, as it stands in a sentence.
    """

    when_full: str = REFUSE
    contact: str = "your administrator"


def amounts(kernel: Object) -> dict[str, Decimal]:
    """What a kernel takes of each resource: one of the kernels, and what its pod asks for."""
    return {
        KERNELS: Decimal(1),
        **quantities.requests(spec_of(kernel).get("template") or {}),
    }


def decide(
    kernel: Object,
    kernels: Iterable[Object],
    *,
    limits: Mapping[str, Limit],
    rules: Rules,
    assumed: Collection[str],
    now: datetime,
) -> Decision:
    """Admit a kernel whose admission isn't decided yet, or refuse it, or let it wait.

    `kernels` are those of the same owner, the kernel itself among them or not; `assumed` are the
    uids of those admitted already whose status doesn't show it yet. Kernels that came earlier and
    are still to be decided go first: what they will get is gone, and what they wait for is kept
    for them. Kernels that are over or being deleted don't count. A kernel without owner is
    nobody's, and admitted.
    """
    owner = spec_of(kernel).get("owner")
    if owner is None:
        return Decision(ADMIT, Reason.WITHIN_QUOTA, "The kernel has no owner, so no quota applies.")
    others = [
        other for other in kernels if uid_of(other) != uid_of(kernel) and not is_deleting(other)
    ]
    books = _Books(limits)
    for other in others:
        if is_admitted(other) or uid_of(other) in assumed:
            books.enter(other)
    earlier = [
        other
        for other in others
        if not is_decided(other) and uid_of(other) not in assumed and _order(other) < _order(kernel)
    ]
    before = 0
    for other in sorted(earlier, key=_order):
        if not books.lacks(other):
            books.enter(other)
        elif rules.when_full == WAIT and books.could_ever(other):
            books.keep_for(other)
            before += 1
    lacks = books.lacks(kernel)
    if not lacks:
        return Decision(ADMIT, Reason.WITHIN_QUOTA, quota_words.place(owner, books.count, limits))
    shortages = [books.shortage(kernel, resource) for resource in lacks]
    if rules.when_full == WAIT and books.could_ever(kernel):
        message = quota_words.waits(owner, shortages, before, now)
        return Decision(WAIT, Reason.WAITING_FOR_QUOTA, message, before)
    message = quota_words.refusal(owner, shortages, rules.contact, now)
    return Decision(REFUSE, Reason.QUOTA_EXCEEDED, message)


def makes_room(old: Object | None, new: Object | None) -> bool:
    """Whether a change of a kernel may let another one of its owner in that waits."""
    return old is not None and _takes_or_waits(old) and not (new and _takes_or_waits(new))


def _takes_or_waits(kernel: Object) -> bool:
    return not is_deleting(kernel) and not (is_decided(kernel) and is_finished(kernel))


@dataclass
class _Books:
    """What of the limits is taken, by whom, and what is kept for those that wait."""

    limits: Mapping[str, Limit]
    count: int = 0
    taken: dict[str, Decimal] = field(default_factory=dict)
    kept: dict[str, Decimal] = field(default_factory=dict)
    holders: list[Object] = field(default_factory=list)

    def enter(self, kernel: Object) -> None:
        """A kernel has, or will have, what it asks for."""
        self.count += 1
        self.holders.append(kernel)
        self._add(self.taken, kernel)

    def keep_for(self, kernel: Object) -> None:
        """A kernel waits: what it asks for goes to none that came later.

        Not so its place in the number of kernels, unless that is what it waits for: whatever else
        it lacks, one of its owner's kernels has to end first, and leaves a place.
        """
        lacks_place = KERNELS in self.lacks(kernel)
        place = self.kept.get(KERNELS, Decimal(0))
        self._add(self.kept, kernel)
        if not lacks_place:
            self.kept[KERNELS] = place

    def lacks(self, kernel: Object) -> list[str]:
        """The resources of which there isn't enough left for a kernel; kernels first."""
        wanted = self._uses(kernel)
        zero = Decimal(0)
        return sorted(
            (
                resource
                for resource, limit in self.limits.items()
                if limit.amount is not None
                and (asked := wanted.get(resource, zero)) > 0
                and self.taken.get(resource, zero) + self.kept.get(resource, zero) + asked
                > limit.amount
            ),
            key=lambda resource: (resource != KERNELS, resource),
        )

    def could_ever(self, kernel: Object) -> bool:
        """Whether a kernel is within the limits if its owner has no other."""
        wanted = self._uses(kernel)
        return all(
            limit.amount is None or wanted.get(resource, Decimal(0)) <= limit.amount
            for resource, limit in self.limits.items()
        )

    def shortage(self, kernel: Object, resource: str) -> Shortage:
        """A resource that a kernel lacks, for the message."""
        limit = self.limits[resource]
        holders = [(item, self._uses(item).get(resource, Decimal(0))) for item in self.holders]
        return Shortage(
            resource,
            limit.amount or Decimal(0),
            str(limit.source),
            self._uses(kernel).get(resource, Decimal(0)),
            [item for item, amount in sorted(holders, key=lambda one: _order(one[0])) if amount],
            self.taken.get(resource, Decimal(0)),
        )

    def _add(self, sums: dict[str, Decimal], kernel: Object) -> None:
        for resource, amount in self._uses(kernel).items():
            sums[resource] = sums.get(resource, Decimal(0)) + amount

    def _uses(self, kernel: Object) -> dict[str, Decimal]:
        if self.limits.keys() <= {KERNELS}:
            return {KERNELS: Decimal(1)}  # quantities take a while to read, where there are many
        return {name: amount for name, amount in amounts(kernel).items() if name in self.limits}


def _order(kernel: Object) -> tuple[str, str]:
    return kernel["metadata"].get("creationTimestamp", ""), uid_of(kernel)
