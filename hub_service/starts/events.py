"""A pod's Events, as kubelet, scheduler and autoscalers write them. Pure.

Events of two APIs arrive as one kind: older writers count and give a first and a last time, newer
ones give an `eventTime` and a series.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from hub_service import timestamps
from hub_service.kinds import Object

# Of pods only, and without those that every start has and the pod's status says as well.
FIELD_SELECTOR = ",".join(
    [
        "involvedObject.kind=Pod",
        *(f"reason!={reason}" for reason in ("Scheduled", "Pulled", "Created", "Started")),
        *(f"reason!={reason}" for reason in ("Killing", "FailedScheduling")),
    ]
)

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def pod_uid(event: Object) -> str | None:
    """The uid of the pod that an Event is about; an index of Events."""
    return (event.get("involvedObject") or {}).get("uid")


def first_at(event: Object) -> datetime:
    """When it happened for the first time."""
    return _moment(event, "firstTimestamp", "eventTime") or last_at(event)


def last_at(event: Object) -> datetime:
    """When it happened last."""
    seen = timestamps.parse((event.get("series") or {}).get("lastObservedTime"))
    return seen or _moment(event, "lastTimestamp", "eventTime") or _LONG_AGO


def times(event: Object) -> int:
    """How often it happened."""
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def latest(events: Iterable[Object], *reasons: str) -> Object | None:
    """The newest of the Events with one of these reasons."""
    return max((e for e in events if e.get("reason") in reasons), key=last_at, default=None)


def message(event: Object) -> str:
    """What it says, in one line."""
    return " ".join(str(event.get("message") or "").split())


def is_about(event: Object, container: str) -> bool:
    """Whether an Event is about that container of its pod."""
    path = str((event.get("involvedObject") or {}).get("fieldPath") or "")
    return path.endswith(f"{{{container}}}")


def _moment(event: Object, *fields: str) -> datetime | None:
    for field in fields:
        if moment := timestamps.parse(event.get(field)):
            return moment
    return timestamps.parse(event["metadata"].get("creationTimestamp"))
