"""What the service notes about a kernel's end in `status.culling`. Pure.

rule: the rules that apply, in a sentence. deadline, warnedAt: when the kernel ends, and since when
its user is told so. keptUntil, extensions: until when its user keeps it, and how many times they
asked. A kernel that works again begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.culling.policy import Policy
from hub_service.kinds import Object, status_of


@dataclass(frozen=True)
class Record:
    """`status.culling` as it stands."""

    deadline: datetime | None = None
    warned_at: datetime | None = None
    kept_until: datetime | None = None
    extensions: int = 0


def of(kernel: Object) -> Record:
    """A kernel's record; an empty one where nothing is noted."""
    noted: Object = status_of(kernel).get("culling") or {}
    return Record(
        timestamps.parse(noted.get("deadline")),
        timestamps.parse(noted.get("warnedAt")),
        timestamps.parse(noted.get("keptUntil")),
        int(noted.get("extensions") or 0),
    )


def kept_until(kernel: Object, policy: Policy) -> datetime | None:
    """Until when its user keeps a kernel, as far as the policy lets them; None: they don't."""
    return of(kernel).kept_until if policy.extensions > 0 else None


def begun(kernel: Object) -> datetime | None:
    """Since when this incarnation of a kernel runs, from which its age counts."""
    return timestamps.parse(status_of(kernel).get("startTime"))


def oldest(kernel: Object, policy: Policy) -> datetime | None:
    """When a kernel reaches its maximum age; None: never, or it is not known since when it runs."""
    start = begun(kernel)
    if policy.max_age is None or start is None:
        return None
    return start + timedelta(seconds=policy.max_age)
