"""Who may act: decisions about a Lease (coordination.k8s.io). Pure.

All decisions rest on a monotonic clock of one's own, in seconds. The times in a Lease are written
for people: clocks of different machines differ, and nothing here reads them.

Why there are never two: a holder counts from the moment at which it sent the renewal that
succeeded, and stops after `Timing.deadline`. Another counts from the moment at which it saw the
Lease change last, which is later, and waits for the whole duration, which is longer. Its write
says which version of the Lease it has seen, so that a renewal in between makes it fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Seconds. Raises ValueError where a holder would not have stopped in time.

    duration: for how long a holder that is silent is waited for.
    deadline: for how long a holder acts after its last renewal.
    stop_within: how long it may take to stop then.
    renew, retry: between renewals; between looks at the Lease of another.
    request: for how long one request is waited for.
    """

    duration: float = 15.0
    deadline: float = 10.0
    stop_within: float = 3.0
    renew: float = 2.0
    retry: float = 1.0
    # An API server with too much to do takes seconds for an answer, too.
    request: float = 5.0

    def __post_init__(self) -> None:
        if self.deadline + self.stop_within >= self.duration:
            raise ValueError(
                f"deadline {self.deadline} s and stop_within {self.stop_within} s must be less "
                f"than duration {self.duration} s together"
            )
        if self.renew + self.request >= self.deadline:
            raise ValueError(
                f"renew {self.renew} s and request {self.request} s must be less than deadline "
                f"{self.deadline} s together: one failure would be the end"
            )


@dataclass(frozen=True)
class Record:
    """A Lease as it was read; `holder` is None where nobody has it."""

    holder: str | None
    duration: float
    transitions: int
    acquired: str | None
    version: str


@dataclass(frozen=True)
class Seen:
    """A record, and the moment at which it was first seen as it is."""

    record: Record
    since: float


def record_of(lease: Object) -> Record:
    """What a Lease says; what is missing or can't be read counts as nobody's."""
    spec: Object = lease.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or None,
        duration=float(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=spec.get("acquireTime"),
        version=str(lease["metadata"]["resourceVersion"]),
    )


def seen(before: Seen | None, record: Record, now: float) -> Seen:
    """What is known after the Lease was read: any change of it means that its holder is alive."""
    return before if before is not None and before.record == record else Seen(record, now)


def wait_to_take(last: Seen | None, me: str, timing: Timing, now: float) -> float:
    """Seconds until the Lease may be taken; 0: at once.

    `last` is None where a Lease was never seen. One that was deleted since it was seen is waited
    for like any other: its holder may not have noticed.
    """
    if last is None or last.record.holder in (None, me):
        return 0.0
    duration = max(last.record.duration, timing.duration)
    return max(last.since + duration - now, 0.0)


def time_left(renewed: float | None, timing: Timing, now: float) -> float:
    """Seconds for which a holder may act that sent its last successful renewal at `renewed`."""
    return 0.0 if renewed is None else max(renewed + timing.deadline - now, 0.0)


def taken(last: Seen | None, me: str, timing: Timing, wall: datetime) -> Object:
    """The spec with which it is taken or renewed by `me`; `wall` is aware."""
    record = last.record if last else None
    stamp = micro_time(wall)
    mine = record is not None and record.holder == me
    transitions = record.transitions if record else 0
    return {
        "holderIdentity": me,
        "leaseDurationSeconds": int(timing.duration),
        "acquireTime": record.acquired if record and mine and record.acquired else stamp,
        "renewTime": stamp,
        "leaseTransitions": transitions if mine or record is None else transitions + 1,
    }


def released(wall: datetime) -> Object:
    """The changes to the spec with which its holder, which has stopped acting, gives it back."""
    return {"holderIdentity": None, "renewTime": micro_time(wall)}


def micro_time(moment: datetime) -> str:
    """A MicroTime of the API: UTC, six digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
