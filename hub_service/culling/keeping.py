"""Keeping an idle kernel for longer, because its user asks for it. Pure.

What is granted stands in `status.culling`: keptUntil, before which no rule ends the kernel; keptAt;
extensions, how many times it was granted. For how long that counts is in `record`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.culling import activity as activities
from hub_service.culling import record
from hub_service.culling.activity import Activity
from hub_service.culling.decide import ends_at
from hub_service.culling.policy import Policy
from hub_service.kinds import Object, Phase, status_of

# Before its end: whoever asks its gateway to end it may not see what is granted after that.
_TOO_LATE = timedelta(seconds=1)


@dataclass(frozen=True)
class Kept:
    """The kernel doesn't end before `until`, having been kept that many times; `left` are left."""

    until: datetime
    extensions: int
    left: int


@dataclass(frozen=True)
class NotKept:
    """Nothing is granted, for this reason, a sentence."""

    message: str


def keep(kernel: Object, policy: Policy, now: datetime) -> Kept | NotKept:
    """Add one extension to a kernel's time, as far as its rules let anybody.

    An end for idleness is put off until the maximum age at most.
    """
    if status_of(kernel).get("phase") != Phase.RUNNING:
        return NotKept("The kernel doesn't run.")
    activity = activities.of(kernel)
    end = ends_at(kernel, activity, policy)
    if end is None:
        because = activity.occupation or "no rule does"
        return NotKept(f"Nothing is about to end this kernel: {because}.")
    if now + _TOO_LATE > end:
        return NotKept("The kernel is being ended. A cell that is run in it now may keep it.")
    before = record.of(kernel, activity, policy).extensions
    extension = timedelta(seconds=policy.extension)
    # Whoever begins anew by working in it has no more in advance than anybody.
    ordinary = ends_at(kernel, activity, replace(policy, extensions=0)) or end
    until = min(end + extension, ordinary + policy.extensions * extension)
    if before >= policy.extensions or until <= end:
        most = f"{policy.extensions} times at most" if policy.extensions else "not at all"
        return NotKept(
            f"The kernel can't be kept any longer: {most}{policy.by('extensions')}. Run a cell in "
            "it to go on with it."
        )
    aged = _aged(kernel, activity, policy)
    if aged is not None and end < aged:
        until = min(until, aged)
    return Kept(until, before + 1, policy.extensions - before - 1)


def status_of_kept(kept: Kept, now: datetime) -> Object:
    """The part of the kernel's status that grants it; nobody is to be warned any more."""
    return {
        "culling": {
            "keptUntil": timestamps.microseconds(kept.until),
            "keptAt": timestamps.microseconds(now),
            "extensions": kept.extensions,
            "deadline": None,
            "reason": None,
            "message": None,
            "warnedAt": None,
        }
    }


def _aged(kernel: Object, activity: Activity, policy: Policy) -> datetime | None:
    """When the kernel ends for its age, as far as that was put off; None: never."""
    oldest = record.oldest(kernel, policy)
    kept = record.of(kernel, activity, policy).kept_until
    return max(oldest, kept) if oldest and kept else oldest
