"""What the hub's servers and their kernels have to do with each other. Pure.

Two things follow from kernels that run apart from their notebook server. The hub, which sees no
kernel, would take a server for idle while its kernel works: it is told. And a server may be gone
without anybody having asked for that, its kernels still there: they wait for the user's next one,
but not for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service import timestamps
from hub_service.culling import Observed
from hub_service.culling import activity as activities
from hub_service.kinds import BUSY, Object, Phase, spec_of, status_of


class Server(NamedTuple):
    """A hub server: its user's name, and its own ("" is the default one)."""

    owner: str
    name: str


def server_of(kernel: Object) -> Server | None:
    """The server that a kernel belongs to; None where it belongs to none."""
    spec = spec_of(kernel)
    if spec.get("owner") is None or spec.get("server") is None:
        return None
    return Server(str(spec["owner"]), str(spec["server"]))


def news(
    kernels: Iterable[Object],
    told: Mapping[Server, datetime],
    now: datetime,
    observed: Observed = lambda _, activity: activity,
) -> dict[Server, datetime]:
    """When servers were last active, by their kernels, where that is later than the hub was told.

    A busy kernel is active now, and so is one that its user keeps, or whose GPUs are in use: it
    would end with its server.
    """
    latest: dict[Server, datetime] = {}
    for kernel in kernels:
        server, moment = server_of(kernel), _last_activity(kernel, now, observed)
        if server is not None and moment is not None:
            latest[server] = max(moment, latest.get(server, moment))
    return {
        server: moment
        for server, moment in latest.items()
        if server not in told or moment > told[server]
    }


def _last_activity(kernel: Object, now: datetime, observed: Observed) -> datetime | None:
    activity: Object = status_of(kernel).get("activity") or {}
    running = status_of(kernel).get("phase") == Phase.RUNNING
    kept = timestamps.parse((status_of(kernel).get("culling") or {}).get("keptUntil"))
    if running and (activity.get("executionState") == BUSY or (kept is not None and kept > now)):
        return now
    last = timestamps.parse(activity.get("lastActivity"))
    reported = activities.of(kernel)
    if reported.idle_since is None:
        return last
    since = observed(kernel, reported).idle_since
    if since is None:
        return now
    if since == reported.idle_since:
        return last
    return since if last is None else max(since, last)


@dataclass(frozen=True)
class Presence:
    """What is known of a server.

    asked: when the hub was asked last. gone_since: when it was first found gone; None where it was
    there. certain: whether the last answer was definite.
    """

    asked: datetime
    gone_since: datetime | None = None
    certain: bool = True


def presence(before: Presence | None, there: bool | None, now: datetime) -> Presence:
    """What is known after the hub was asked; `there` is None where it gave no definite answer."""
    since = before.gone_since if before else None
    if there is None:
        return Presence(now, since, certain=False)
    return Presence(now, None if there else since or now)


def ask_again(known: Presence | None, now: datetime, *, interval: timedelta) -> bool:
    """Whether it is time to ask the hub about a server; at every look where it was not there."""
    if known is None or known.gone_since is not None or not known.certain:
        return True
    return now - known.asked >= interval


def is_overdue(known: Presence | None, now: datetime, *, timeout: timedelta | None) -> bool:
    """Whether the kernels of a server that is gone have waited for long enough; None: never.

    Unknown is not gone.
    """
    if known is None or known.gone_since is None or not known.certain or timeout is None:
        return False
    return now - known.gone_since >= timeout
