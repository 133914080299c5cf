"""What is done about a kernel whose heart does not answer. Pure.

Each pod of its gateway reports since when (`status.activity.heartbeatLostByPod`), and only of
kernels that were idle then, at a connection that was there: a busy kernel may keep its heartbeat to
itself, and what can't be reached may well be alive. It is lost where all of them say so: one alone
may be cut off from a kernel that is well. The service restarts it in its pod; one that is lost
again and again fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.kernels import inplace
from hub_service.kernels import kernel as kernels
from hub_service.kinds import RUNNING, Object, is_deleting, is_true, spec_of, status_of

# From one restart to the next at least, twice as long each time.
_BACK_OFF = timedelta(seconds=60)
# From a try that did not reach the process to the next: those don't count, but are not made for
# ever. A process that can't even be killed holds its GPU.
_AGAIN = timedelta(seconds=60)
_TRIES_END = timedelta(minutes=10)
# A kernel that lived this long after a restart has recovered.
_RECOVERED = timedelta(minutes=30)


@dataclass(frozen=True)
class Rule:
    """timeout: since when the heart must be lost, in seconds, 0 or less is for ever; restarts: how
    many in a row before the kernel fails.
    """

    timeout: int
    restarts: int


@dataclass(frozen=True)
class Keep:
    """Nothing now; look again at `until`, or when the status changes if that is None."""

    until: datetime | None = None


@dataclass(frozen=True)
class Restart:
    """Restart it in its pod; `count`: how many times in a row that makes."""

    restart_id: str
    count: int
    message: str


@dataclass(frozen=True)
class GiveUp:
    """The kernel has failed."""

    message: str


def reports(kernel: Object) -> dict[str, str]:
    """Since when a kernel's heart is lost, by the pods of its gateway that say so."""
    return dict((status_of(kernel).get("activity") or {}).get("heartbeatLostByPod") or {})


def lost_since(kernel: Object, pods: Iterable[str]) -> datetime | None:
    """Since when all `pods`, which serve the kernel, say that its heart is lost; None: not all."""
    said = reports(kernel)
    since = [timestamps.parse(said.get(pod)) for pod in pods]
    moments = [moment for moment in since if moment is not None]
    return max(moments) if moments and len(moments) == len(since) else None


def decide(
    kernel: Object, since: datetime | None, rule: Rule, now: datetime
) -> Keep | Restart | GiveUp:
    """What a kernel's heart asks for that is lost `since` then, or not (None)."""
    status = status_of(kernel)
    runs = is_true(kernel, RUNNING) and not is_deleting(kernel)
    if since is None or rule.timeout <= 0 or not runs:
        return Keep()
    if status.get("incarnation") != kernels.incarnation(kernel):
        return Keep()
    restart: Object = status.get("restart") or {}
    at = timestamps.parse(restart.get("at"))
    due = since + timedelta(seconds=rule.timeout)
    count = 0
    if at is not None:
        if since <= at and restart.get("delivered"):
            return Keep()  # whether the new process answers, the gateway will say
        if since <= at:
            due = max(due, at + _AGAIN)
        if since - at <= _RECOVERED:
            count = int(restart.get("count") or 0)
    if now < due:
        return Keep(due)
    silent = f"The kernel's process has not answered since {since:%H:%M:%S} UTC, though it was idle"
    objection = inplace.objection(spec_of(kernel).get("template") or {})
    if objection:
        return GiveUp(f"{silent}. It can't be started again in its pod: {objection}")
    tries_end = since + timedelta(seconds=rule.timeout) + _TRIES_END
    if at is not None and since <= at and now >= tries_end:
        return GiveUp(f"{silent}, and it could not be restarted.")
    if count >= rule.restarts:
        times = f"restarted {count} times for that" if count else "is not restarted by itself"
        return GiveUp(f"{silent}, and {'was ' if count else ''}{times}.")
    if count and at is not None and now < (later := at + _BACK_OFF * 2 ** (count - 1)):
        return Keep(later)
    restart_id = f"heartbeat-{timestamps.microseconds(now)}"
    return Restart(restart_id, count + 1, f"{silent}: it was restarted.")
