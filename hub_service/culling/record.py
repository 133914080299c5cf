"""What counts of a kernel's `status.culling`, where a warning and its user's wish are noted. Pure.

That its user keeps a kernel counts until it works again. Whoever keeps it beyond its maximum age
can't begin anew by working in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.culling.activity import Activity
from hub_service.culling.policy import Policy
from hub_service.kinds import Object, status_of


@dataclass(frozen=True)
class Record:
    """What counts of a kernel's `status.culling`.

    deadline: when it ends, as its user was told at `warned_at`. kept_until: until when its user
    keeps it; extensions: how many times they asked.
    """

    deadline: datetime | None = None
    warned_at: datetime | None = None
    kept_until: datetime | None = None
    extensions: int = 0


def of(kernel: Object, activity: Activity, policy: Policy) -> Record:
    """A kernel's record; an empty one where nothing is noted."""
    noted: Object = status_of(kernel).get("culling") or {}
    deadline = timestamps.parse(noted.get("deadline"))
    warned = timestamps.parse(noted.get("warnedAt"))
    kept = timestamps.parse(noted.get("keptUntil"))
    if kept is None or not _counts(
        kept, timestamps.parse(noted.get("keptAt")), kernel, activity, policy
    ):
        return Record(deadline, warned)
    return Record(deadline, warned, kept, int(noted.get("extensions") or 0))


def oldest(kernel: Object, policy: Policy) -> datetime | None:
    """When a kernel reaches its maximum age; None: never, or it is not known since when it runs."""
    start = timestamps.parse(status_of(kernel).get("startTime"))
    if policy.max_age is None or start is None:
        return None
    return start + timedelta(seconds=policy.max_age)


def _counts(
    kept: datetime, at: datetime | None, kernel: Object, activity: Activity, policy: Policy
) -> bool:
    if policy.extensions == 0:
        return False
    age = oldest(kernel, policy)
    if age is not None and kept > age:
        return True
    return at is None or activity.idle_since is None or activity.idle_since <= at
