"""Conditions in a status: building the next list from the present one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kinds import Object


class Condition(NamedTuple):
    """What a condition says; when it began to say so is `merged`'s business."""

    type: str
    holds: bool
    reason: str
    message: str


def merged(present: Iterable[Object], wanted: Iterable[Condition], now: datetime) -> list[Object]:
    """The wanted conditions in their order, with the times of the present ones where they hold on.

    `lastTransitionTime` moves when the status changes, `lastUpdateTime` when anything does.
    Conditions that aren't wanted are dropped.
    """
    known = {entry["type"]: entry for entry in present}
    stamp = timestamps.seconds(now)
    result = []
    for condition in wanted:
        entry: Object = {
            "type": condition.type,
            "status": "True" if condition.holds else "False",
            "reason": condition.reason,
            "message": condition.message,
        }
        old = known.get(condition.type, {})
        same_status = old.get("status") == entry["status"]
        unchanged = all(old.get(field) == value for field, value in entry.items())
        entry["lastUpdateTime"] = old.get("lastUpdateTime", stamp) if unchanged else stamp
        entry["lastTransitionTime"] = old.get("lastTransitionTime", stamp) if same_status else stamp
        result.append(entry)
    return result


def patch(status: Object, wanted: Object) -> Object:
    """The part of `wanted` that a status doesn't show yet, as a merge patch; often empty.

    Only the keys of `wanted` are looked at; a value of None removes the key.
    """
    return {key: value for key, value in wanted.items() if status.get(key) != value}
