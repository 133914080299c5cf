"""Amounts of GPU-seconds by day and account. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple


class Account(NamedTuple):
    """Whose kernels of which spec; `user` is "" for kernels that belong to nobody."""

    user: str
    spec: str


class Entry(NamedTuple):
    """Under which day, in UTC, and account something is booked."""

    day: date
    account: Account


@dataclass
class Amounts:
    """GPU-seconds.

    held: a pod had GPUs, whatever it did with them. used: of these, while its kernel was busy.
    given_back: a notebook with GPUs of its own would have held them, and nobody did.
    """

    held: float = 0.0
    used: float = 0.0
    given_back: float = 0.0

    @property
    def static(self) -> float:
        """What notebooks with GPUs of their own would have held."""
        return self.held + self.given_back

    def add(self, other: Amounts) -> None:
        """Take in others."""
        self.held += other.held
        self.used += other.used
        self.given_back += other.given_back


Note = Callable[[Account, Amounts], None]


class Books:
    """What was booked. `on_add` is told of each amount as it comes in."""

    def __init__(self, *, on_add: Note = lambda _account, _amounts: None) -> None:
        self.amounts: dict[Entry, Amounts] = {}
        self._changed: set[Entry] = set()
        self._on_add = on_add

    def add(
        self,
        account: Account,
        start: datetime,
        end: datetime,
        *,
        held: int = 0,
        used: int = 0,
        given_back: int = 0,
    ) -> None:
        """Book so many GPUs from `start` to `end`; nothing where that is no time."""
        for day, seconds in _days(start, end):
            more = Amounts(held * seconds, used * seconds, given_back * seconds)
            entry = Entry(day, account)
            self.amounts.setdefault(entry, Amounts()).add(more)
            self._changed.add(entry)
            self._on_add(account, more)

    def restore(self, entry: Entry, amounts: Amounts) -> None:
        """Take in what was booked and written before."""
        self.amounts.setdefault(entry, Amounts()).add(amounts)

    @property
    def changed_days(self) -> set[date]:
        """The days of what is to be written."""
        return {entry.day for entry in self._changed}

    def take_changed(self) -> tuple[frozenset[Entry], dict[Entry, Amounts]]:
        """What is to be written, and all there is as it is now. It counts as written then."""
        changed, self._changed = frozenset(self._changed), set()
        return changed, {entry: replace(amounts) for entry, amounts in self.amounts.items()}

    def put_back(self, entries: frozenset[Entry]) -> None:
        """These could not be written."""
        self._changed |= entries

    def forget_before(self, day: date) -> None:
        """Days that are over are kept elsewhere, but for those with something still to be written.

        Of these all entries stay: the totals of a day are written with what has changed.
        """
        unwritten = self.changed_days
        self.amounts = {
            entry: amounts
            for entry, amounts in self.amounts.items()
            if entry.day >= day or entry.day in unwritten
        }


def _days(start: datetime, end: datetime) -> Iterator[tuple[date, float]]:
    """The days, in UTC, between two moments, and the seconds of each."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    while start < end:
        midnight = datetime.combine(start.date() + timedelta(days=1), time(), UTC)
        until = min(midnight, end)
        yield start.date(), (until - start).total_seconds()
        start = until
