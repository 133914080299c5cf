"""Kubernetes Events on a JupyterKernel: what its owner and its administrator are told of it. Pure.

An Event is written when a condition begins to say something else; how far a start has come, that
it waits or has failed and why, how the kernel ended. And when its user is told that it is about to
end.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from hub_service import timestamps
from hub_service.kinds import (
    ADMITTED,
    CULLED,
    EVENTS,
    FAILED,
    JUPYTER_KERNELS,
    MANAGER,
    RUNNING,
    SUCCEEDED,
    TEMPLATE_ACCEPTED,
    Object,
    Reason,
    condition,
    name_of,
    namespace_of,
    status_of,
    uid_of,
)

# Steps that every start goes through in a moment: their conditions say enough.
_UNREMARKABLE = frozenset(
    {
        Reason.WITHIN_QUOTA, Reason.ACCEPTED, Reason.POD_PENDING, Reason.CONTAINER_CREATING,
        Reason.POD_RUNNING, Reason.ENDED,
    }
)  # fmt: skip
# Waits that somebody should look at.
_TROUBLE = frozenset(
    {
        Reason.POD_NOT_MADE, Reason.NAMESPACE_FULL, Reason.UNSCHEDULABLE, Reason.IMAGE_ERROR,
        Reason.CONTAINER_ERROR,
    }
)  # fmt: skip
_TYPES = (ADMITTED, TEMPLATE_ACCEPTED, RUNNING, FAILED, SUCCEEDED, CULLED)
_LONGEST_MESSAGE = 1000
# Of the Event that a kernel is about to be culled.
CULL_WARNING = "CullWarning"


def of_change(before: Object, after: Object, now: datetime) -> list[Object]:
    """Events for what a JupyterKernel's status says now and did not say before."""
    told = [
        _of_condition(after, entry, now)
        for kind in _TYPES
        if (entry := condition(after, kind)) is not None
        and entry.get("reason") not in _UNREMARKABLE
        and not _says_the_same(condition(before, kind), entry)
    ]
    noted: Object = status_of(after).get("culling") or {}
    warned = noted.get("warnedAt")
    if warned and warned != (status_of(before).get("culling") or {}).get("warnedAt"):
        told.append(_event(after, "Warning", CULL_WARNING, noted.get("message") or "", warned, now))
    return told


def _says_the_same(old: Object | None, new: Object) -> bool:
    return old is not None and all(old.get(field) == new[field] for field in ("status", "reason"))


def _of_condition(kernel: Object, entry: Object, now: datetime) -> Object:
    refused = entry["type"] in (ADMITTED, TEMPLATE_ACCEPTED) and entry["status"] == "False"
    bad = entry["type"] == FAILED or refused or entry["reason"] in _TROUBLE
    told = f"{entry['type']} {status_of(kernel).get('incarnation')}"
    kind = "Warning" if bad else "Normal"
    return _event(kernel, kind, entry["reason"], entry["message"], told, now)


def _event(
    kernel: Object, kind: str, reason: str, message: str, about: str, now: datetime
) -> Object:
    """about: what else tells it from others of that reason and second."""
    told = f"{about} {reason} {timestamps.seconds(now)}"
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return event(kernel, digest, kind, reason, message, now)


def event(
    kernel: Object, suffix: str, kind: str, reason: str, message: str, now: datetime
) -> Object:
    """An Event on a kernel. suffix: of its name, by which there is one of it and no more."""
    stamp = timestamps.seconds(now)
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{name_of(kernel)}.{suffix}",
            "namespace": namespace_of(kernel),
        },
        "involvedObject": {
            "apiVersion": JUPYTER_KERNELS.api_version,
            "kind": JUPYTER_KERNELS.kind,
            "name": name_of(kernel),
            "namespace": namespace_of(kernel),
            "uid": uid_of(kernel),
        },
        "type": kind,
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "source": {"component": MANAGER},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
