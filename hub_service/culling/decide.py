"""Whether a kernel is kept, its user warned, or its gateway asked to end it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter

from hub_service.culling import record
from hub_service.culling.activity import Activity
from hub_service.culling.policy import Policy, words
from hub_service.kinds import Object, Phase, Reason, status_of

# One whose maximum age is over ends once it was idle for so long: a client that sends cell after
# cell doesn't lose it between two of them.
_PAUSE = timedelta(seconds=10)


@dataclass(frozen=True)
class Demand:
    """This kernel was chosen for somebody who waits, since then.

    by: a clause for the kernel's user, such as "another start waits for 1 GPU".
    """

    since: datetime
    by: str


@dataclass(frozen=True)
class Keep:
    """The kernel stays; look again at `until`, or when its status changes if that is None."""

    until: datetime | None
    reason: str


@dataclass(frozen=True)
class Warn:
    """The kernel stays, and its user is to know that it ends at `deadline`.

    reason: as in Confirm. message: why, in a sentence. until: as in Keep; None for one that is at
    work, which ends at the first idle moment after the deadline.
    """

    deadline: datetime
    reason: str
    message: str
    until: datetime | None


@dataclass(frozen=True)
class Confirm:
    """The time is over: ask the gateway to seal the kernel if it was idle since `idle_before`.

    reason: of the condition Culled then (Idle, MaximumAge, Reclaimed). message: why, in a sentence.
    unless_connected: not if a notebook is connected to it.
    """

    idle_before: datetime
    reason: str
    message: str
    unless_connected: bool = False


Verdict = Keep | Warn | Confirm


@dataclass(frozen=True)
class _End:
    """When a rule ends a kernel that was idle for `idle` until then.

    span: seconds that the rule gave, from which a warning is cut. told: what its user knows as the
    end.
    """

    at: datetime
    reason: str
    idle: timedelta
    span: float
    told: datetime


def decide(
    kernel: Object, activity: Activity, policy: Policy, demand: Demand | None, now: datetime
) -> Verdict:
    """What becomes of a kernel.

    Only a running kernel that its gateway reports as idle can ever be ended. One of which nothing
    is known is kept: unknown is not idle. One that works past its maximum age ends when it pauses.
    """
    if status_of(kernel).get("phase") != Phase.RUNNING:
        return Keep(None, "not running")
    aged = _by_age(kernel, activity, policy)
    since = activity.idle_since
    if since is None:
        return _at_work(activity, policy, aged, now)
    possible = (
        aged,
        _by_idleness(kernel, activity, policy),
        _by_demand(kernel, activity, policy, demand),
    )
    ends = [end for end in possible if end is not None]
    if not ends:
        return Keep(None, _why_never(activity, policy))
    if due := [end for end in ends if end.at <= now]:
        # The least that its gateway has to agree to, which may know better.
        return _confirm(min(due, key=attrgetter("idle")), policy, demand, now)
    first = min(ends, key=attrgetter("at"))
    warnings = [(warned, end) for end in ends if (warned := _warned_from(end, policy))]
    until = min([first.at, *(warned for warned, _ in warnings if warned > now)])
    told = [end for warned, end in warnings if warned <= now]
    if not told:
        return Keep(until, f"until {first.at:%H:%M:%S} UTC")
    end = min(told, key=attrgetter("told"))
    return Warn(end.told, end.reason, _announcement(end, since, policy), until)


def ends_at(kernel: Object, activity: Activity, policy: Policy) -> datetime | None:
    """When a kernel ends as things are, if nobody waits for what it holds; None: never.

    One that is at work past that moment ends when it is idle next.
    """
    if status_of(kernel).get("phase") != Phase.RUNNING:
        return None
    ends = (_by_age(kernel, activity, policy), _by_idleness(kernel, activity, policy))
    return min((end.told for end in ends if end is not None), default=None)


def reclaimable_from(kernel: Object, activity: Activity, policy: Policy) -> datetime | None:
    """From when on a kernel may be ended for somebody who waits; None: not as things are.

    Not one that its user keeps, nor one with an open notebook where the policy lets that count.
    """
    since = _counts_from(activity, policy)
    if status_of(kernel).get("phase") != Phase.RUNNING or since is None:
        return None
    if policy.reclaim_after is None:
        return None
    end = since + timedelta(seconds=policy.reclaim_after)
    return max(end, record.kept_until(kernel, policy) or end)


def _at_work(activity: Activity, policy: Policy, aged: _End | None, now: datetime) -> Keep | Warn:
    warned = _warned_from(aged, policy) if aged else None
    if aged is None or warned is None:
        return Keep(None, activity.occupation)
    if now < warned:
        return Keep(warned, activity.occupation)
    return Warn(aged.told, aged.reason, _announcement(aged, None, policy), None)


def _by_age(kernel: Object, activity: Activity, policy: Policy) -> _End | None:
    oldest = record.oldest(kernel, policy)
    if oldest is None:
        return None
    end = _End(oldest, Reason.MAXIMUM_AGE, _PAUSE, policy.max_age or 0, oldest)
    end = _unless_kept(end, kernel, policy)
    since = activity.idle_since
    return replace(end, at=max(end.at, since + _PAUSE)) if since else end


def _by_idleness(kernel: Object, activity: Activity, policy: Policy) -> _End | None:
    since = _counts_from(activity, policy)
    if since is None or policy.idle_timeout is None:
        return None
    idle = timedelta(seconds=policy.idle_timeout)
    end = _End(since + idle, Reason.IDLE, idle, policy.idle_timeout, since + idle)
    return _unless_kept(end, kernel, policy)


def _by_demand(
    kernel: Object, activity: Activity, policy: Policy, demand: Demand | None
) -> _End | None:
    at = reclaimable_from(kernel, activity, policy) if demand else None
    if at is None:
        return None
    return _End(at, Reason.RECLAIMED, timedelta(seconds=policy.reclaim_after or 0), 0, at)


def _counts_from(activity: Activity, policy: Policy) -> datetime | None:
    """From when on idleness counts; None while it doesn't."""
    since = activity.idle_since
    if since is None or not policy.connected:
        return since
    if activity.connections:
        return None
    return max(since, activity.left or since)


def _unless_kept(end: _End, kernel: Object, policy: Policy) -> _End:
    kept = record.kept_until(kernel, policy)
    if kept is None or kept <= end.at:
        return end
    return replace(end, at=kept, told=kept, span=policy.extension)


def _warned_from(end: _End, policy: Policy) -> datetime | None:
    """Since when its user is told of an end; None: not at all.

    The first half of the time passes in silence, whatever the warning is to be.
    """
    lead = min(float(policy.warning), end.span / 2)
    return end.told - timedelta(seconds=lead) if lead > 0 else None


def _confirm(end: _End, policy: Policy, demand: Demand | None, now: datetime) -> Confirm:
    # Not since it was last heard of: another process of its gateway may have heard it later.
    idle_before = now - end.idle
    if end.reason == Reason.MAXIMUM_AGE:
        return Confirm(idle_before, end.reason, f"The kernel has reached {_age(policy)}.")
    message = f"The kernel was idle for {words(int(end.idle.total_seconds()))} or more"
    if end.reason == Reason.IDLE:
        message += f"{policy.by('idle_timeout')}."
    else:
        message += f"{policy.by('reclaim_after')}, and {demand.by if demand else 'somebody waits'}."
    return Confirm(idle_before, end.reason, message, unless_connected=policy.connected)


def _announcement(end: _End, since: datetime | None, policy: Policy) -> str:
    at = f"{end.told:%H:%M:%S} UTC"
    if end.reason == Reason.MAXIMUM_AGE:
        when = f"at {at}" if since else f"at {at}, or when it is idle next"
        return f"The kernel ends {when}: it has reached {_age(policy)} then."
    return f"The kernel is idle since {since:%H:%M:%S} UTC and ends at {at} unless it is used."


def _age(policy: Policy) -> str:
    return f"its maximum age of {words(policy.max_age or 0)}{policy.by('max_age')}"


def _why_never(activity: Activity, policy: Policy) -> str:
    if policy.connected and activity.connections:
        return "a notebook is open"
    return f"never{policy.by('idle_timeout')}"
