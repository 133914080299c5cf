"""What a kernel does, as its gateway reports it in `status.activity`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hub_service import timestamps
from hub_service.kernels import liveness
from hub_service.kernels.kernel import has_answered
from hub_service.kinds import IDLE, Object, Phase, status_of


@dataclass(frozen=True)
class Activity:
    """A kernel's activity at one moment.

    idle_since: the latest moment at which it may have been at work; None unless it is known to be
    idle since then. occupation: why it doesn't count as idle, in a word or two; "" if it does.
    connections: of notebooks; left: when the last one went, None where that is not known.
    """

    idle_since: datetime | None
    occupation: str = ""
    connections: int = 0
    left: datetime | None = None


# A kernel's activity by more than its gateway reports.
Observed = Callable[[Object, Activity], Activity]


def of(kernel: Object) -> Activity:
    """A kernel's activity. What is not known to be idle is not idle."""
    status = status_of(kernel)
    reported: Object = status.get("activity") or {}
    left = timestamps.parse(reported.get("lastConnected"))
    occupation = _occupation(kernel, reported)
    since = None if occupation else _idle_since(status, reported)
    if since is None and not occupation:
        occupation = "idle, but since when is unknown"
    return Activity(since, occupation, _connections(reported), left)


def only_puts_off(before: Object, after: Object) -> bool:
    """Whether a kernel's change is no more than a report that what it did goes on.

    Whoever looks at the time that was known before finds the later one then. What may be written
    into a kernel's status by the service itself is no such report, nor is its first answer, nor
    that the last notebook went. Of a kernel whose user was warned every report counts.
    """
    old, new = status_of(before).get("activity") or {}, status_of(after).get("activity") or {}
    was, since = _idle_since(status_of(before), old), _idle_since(status_of(after), new)
    return (
        was is not None
        and since is not None
        and since >= was
        and _said(old) == _said(new)
        and (_connections(new) > 0 or not _connections(old))
        and not (status_of(before).get("culling") or {}).get("warnedAt")
        and has_answered(before) == has_answered(after)
        and _without_activity(before) == _without_activity(after)
    )


def _connections(activity: Object) -> int:
    """As its gateway's pods say, each for itself: the sum that one of them wrote may be old."""
    return sum((activity.get("connectionsByPod") or {}).values())


def _said(activity: Object) -> tuple[object, ...]:
    fields = ("executionState", "heartbeatLostByPod", "debuggingByPod")
    return tuple(activity.get(field) for field in fields)


def _without_activity(kernel: Object) -> Object:
    status = {**status_of(kernel), "activity": None}
    metadata = {**kernel["metadata"], "resourceVersion": None}
    return {**kernel, "metadata": metadata, "status": status}


def _occupation(kernel: Object, reported: Object) -> str:
    if status_of(kernel).get("phase") != Phase.RUNNING:
        return "not running"
    state = reported.get("executionState")
    if state != IDLE:
        return str(state or "activity unknown")
    if not has_answered(kernel):
        return "starting"  # what is reported is of the process before
    if liveness.reports(kernel):
        return "not answering its gateway"
    return "being debugged" if any((reported.get("debuggingByPod") or {}).values()) else ""


def _idle_since(status: Object, activity: Object) -> datetime | None:
    """The latest moment at which the kernel may have been busy.

    Its start counts: the activity of an earlier incarnation says nothing about this one.
    """
    last = timestamps.parse(activity.get("lastActivity"))
    idle = timestamps.parse(activity.get("idleSince"))
    if last is None and idle is None:
        return None
    started = timestamps.parse(status.get("startTime"))
    return max(moment for moment in (last, idle, started) if moment is not None)
