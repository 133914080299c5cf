"""`status.culling` as it ought to be. Pure."""

from __future__ import annotations

from datetime import datetime

from hub_service import timestamps
from hub_service.culling import record
from hub_service.culling.activity import Activity
from hub_service.culling.decide import Confirm, Verdict, Warn
from hub_service.culling.policy import Policy
from hub_service.kinds import Object, status_of

_OF_WARNING = ("deadline", "reason", "message", "warnedAt")
_OF_KEEPING = ("keptUntil", "keptAt", "extensions")


def with_rules(kernel: Object, policy: Policy) -> Object:
    """What is noted, and the rules that apply."""
    noted: Object = status_of(kernel).get("culling") or {}
    return {**noted, "rule": policy.sentence, "policy": policy.line}


def wanted(
    kernel: Object, activity: Activity, policy: Policy, verdict: Verdict, now: datetime
) -> Object:
    """What is to be noted; None removes a field.

    Of a kernel that is about to end, the warning stays.
    """
    noted = with_rules(kernel, policy)
    if isinstance(verdict, Confirm):
        return noted
    present = record.of(kernel, activity, policy)
    is_over = present.kept_until is None or (present.kept_until <= now and not present.extensions)
    kept = _OF_KEEPING if is_over else ()
    result = noted | {field: None for field in (*_OF_WARNING, *kept) if field in noted}
    if isinstance(verdict, Warn):
        told_before = present.deadline == verdict.deadline and present.warned_at
        result |= {
            "deadline": timestamps.microseconds(verdict.deadline),
            "reason": verdict.reason,
            "message": verdict.message,
            "warnedAt": noted["warnedAt"] if told_before else timestamps.microseconds(now),
        }
    return result
