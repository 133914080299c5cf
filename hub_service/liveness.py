"""What is done about a kernel whose heart does not answer. Pure.

Its gateway reports since when (`status.activity.heartbeatLostSince`), and only of kernels that
were idle then, at a connection that was there: a busy kernel may keep its heartbeat to itself, and
what can't be reached may well be alive. The service restarts it in its pod; one that is lost again
and again fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service import inplace, timestamps
from hub_service import kernel as kernels
from hub_service.kinds import RUNNING, Object, is_deleting, is_true, spec_of, status_of

# From one restart to the next at least, twice as long each time.
_BACK_OFF = timedelta(seconds=60)
# From a try that did not reach the process to the next: those don't count.
_AGAIN = timedelta(seconds=60)
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


def decide(kernel: Object, rule: Rule, now: datetime) -> Keep | Restart | GiveUp:
    """What a kernel's lost heart asks for."""
    status = status_of(kernel)
    since = timestamps.parse((status.get("activity") or {}).get("heartbeatLostSince"))
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
    if count >= rule.restarts:
        times = f"restarted {count} times for that" if count else "is not restarted by itself"
        return GiveUp(f"{silent}, and {'was ' if count else ''}{times}.")
    if count and at is not None and now < (later := at + _BACK_OFF * 2 ** (count - 1)):
        return Keep(later)
    restart_id = f"heartbeat-{timestamps.microseconds(now)}"
    return Restart(restart_id, count + 1, f"{silent}: it was restarted.")
