"""When an idle kernel ends.

Pure. `decide` never ends a kernel by itself: at the deadline it asks for the gateway's word, which
is the only one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.kernel import has_answered
from hub_service.kinds import IDLE, Object, Phase, spec_of, status_of


@dataclass(frozen=True)
class Policy:
    """The idle time-out that applies to a kernel; `seconds` None is never. `source` says whose."""

    seconds: int | None
    source: str


# For a kernel whose server is gone and was waited for long enough: as soon as it is idle.
LOST_SERVER = Policy(1, "the rule for kernels whose notebook server is gone")


@dataclass(frozen=True)
class Keep:
    """The kernel stays; look again at `until`, or when its status changes if that is None."""

    until: datetime | None
    reason: str


@dataclass(frozen=True)
class Confirm:
    """The time is over: ask the gateway to seal the kernel if it was idle since `idle_before`."""

    idle_before: datetime
    reason: str


def policy(kernel: Object, gateway: Object | None, default: int) -> Policy:
    """The kernel's own cullIdleTimeout, else its gateway's, else the service's.

    0 or less is never, and as good as any other answer: the next one isn't asked.
    """
    candidates = [
        (spec_of(kernel).get("cullIdleTimeout"), "the kernel's cullIdleTimeout"),
        (spec_of(gateway or {}).get("cullIdleTimeout"), "the gateway's cullIdleTimeout"),
        (default, "the service's culling.idleTimeout"),
    ]
    seconds, source = next((value, name) for value, name in candidates if value is not None)
    return Policy(seconds if seconds > 0 else None, source)


def only_puts_off(before: Object, after: Object) -> bool:
    """Whether a kernel's change is no more than a report that what it did goes on.

    Whoever looks at the time that was known before finds the later one then. What may be written
    into a kernel's status by the service itself is no such report, nor is its first answer.
    """
    old, new = status_of(before).get("activity") or {}, status_of(after).get("activity") or {}
    was, since = _idle_since(status_of(before), old), _idle_since(status_of(after), new)
    said, says = [(one.get("executionState"), one.get("heartbeatLostByPod")) for one in (old, new)]
    return (
        was is not None
        and since is not None
        and since >= was
        and said == says
        and has_answered(before) == has_answered(after)
        and _without_activity(before) == _without_activity(after)
    )


def _without_activity(kernel: Object) -> Object:
    status = {**status_of(kernel), "activity": None}
    metadata = {**kernel["metadata"], "resourceVersion": None}
    return {**kernel, "metadata": metadata, "status": status}


def decide(kernel: Object, rule: Policy, now: datetime) -> Keep | Confirm:
    """Keep a kernel, or ask about it.

    Only a running kernel that its gateway reports as idle can ever be ended. One of which nothing
    is known is kept: unknown is not idle.
    """
    if rule.seconds is None:
        return Keep(None, f"never, by {rule.source}")
    status = status_of(kernel)
    if status.get("phase") != Phase.RUNNING:
        return Keep(None, "not running")
    activity: Object = status.get("activity") or {}
    state = activity.get("executionState")
    if state != IDLE:
        return Keep(None, f"{state or 'activity unknown'}")
    since = _idle_since(status, activity)
    if since is None:
        return Keep(None, "since when it is idle is unknown")
    timeout = timedelta(seconds=rule.seconds)
    if now < since + timeout:
        return Keep(since + timeout, f"idle for less than {rule.seconds} s, by {rule.source}")
    return Confirm(now - timeout, f"idle for {rule.seconds} s, by {rule.source}")


def _idle_since(status: Object, activity: Object) -> datetime | None:
    """The latest moment at which the kernel may have been busy.

    Its start counts: the activity of an earlier incarnation says nothing about this one.
    """
    last = timestamps.parse(activity.get("lastActivity"))
    idle = timestamps.parse(activity.get("idleSince"))
    started = timestamps.parse(status.get("startTime"))
    if last is None and idle is None:
        return None
    return max(moment for moment in (last, idle, started) if moment is not None)
