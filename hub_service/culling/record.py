"""What counts of a kernel's `status.culling`, where a warning and its user's wish are noted. Pure.

A kernel that its user keeps doesn't end before, whatever becomes of it. How many times they asked
begins anew when it works, but for one that is kept beyond its maximum age.
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
    keeps it; extensions: how many times they asked, as it counts.
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
    kept = kept_until(kernel, policy)
    if kept is None:
        return Record(deadline, warned)
    age, at = oldest(kernel, policy), timestamps.parse(noted.get("keptAt"))
    has_worked = at is not None and activity.idle_since is not None and activity.idle_since > at
    begins_anew = has_worked and (age is None or kept <= age)
    extensions = 0 if begins_anew else int(noted.get("extensions") or 0)
    return Record(deadline, warned, kept, extensions)


def kept_until(kernel: Object, policy: Policy) -> datetime | None:
    """Until when its user keeps a kernel, as far as its rules let them; None: they don't."""
    noted: Object = status_of(kernel).get("culling") or {}
    return timestamps.parse(noted.get("keptUntil")) if policy.extensions else None


def oldest(kernel: Object, policy: Policy) -> datetime | None:
    """When a kernel reaches its maximum age; None: never, or it is not known since when it runs."""
    start = timestamps.parse(status_of(kernel).get("startTime"))
    if policy.max_age is None or start is None:
        return None
    return start + timedelta(seconds=policy.max_age)
