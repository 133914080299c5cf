"""A kernel as the service's API shows it. Pure."""

from __future__ import annotations

from hub_service.kinds import Object, condition, name_of, namespace_of, spec_of, status_of


def kernel_model(kernel: Object) -> Object:
    """A JupyterKernel as the API shows it; times in RFC 3339, None where there is nothing."""
    spec, status = spec_of(kernel), status_of(kernel)
    activity: Object = status.get("activity") or {}
    start: Object = status.get("start") or {}
    decisive = _decisive_condition(kernel)
    return {
        "id": spec.get("kernelID"),
        "name": name_of(kernel),
        "namespace": namespace_of(kernel),
        "owner": spec.get("owner"),
        "server": spec.get("server"),
        "spec": spec.get("kernelSpecName"),
        "gateway": (spec.get("gateway") or {}).get("name"),
        "phase": status.get("phase") or "Pending",
        "reason": decisive.get("reason"),
        "message": decisive.get("message"),
        "since": start.get("since") or decisive.get("lastTransitionTime"),
        "deadline": start.get("deadline"),
        "waiting_behind": start.get("waitingBehind"),
        "gpus": status.get("gpus", 0),
        "node": status.get("nodeName"),
        "pod": status.get("podName"),
        "state": activity.get("executionState"),
        "last_activity": activity.get("lastActivity"),
        "idle_since": activity.get("idleSince"),
        "gpus_unused_since": status.get("gpusUnusedSince"),
        "culling": _culling(status.get("culling") or {}),
        "created": kernel["metadata"].get("creationTimestamp"),
    }


def _culling(noted: Object) -> Object | None:
    """What is noted of a kernel's end; None: nothing.

    deadline: when it ends, where its user is told by now.
    """
    if not noted:
        return None
    return {
        "rule": noted.get("rule"),
        "deadline": noted.get("deadline"),
        "reason": noted.get("reason"),
        "message": noted.get("message"),
        "warned_at": noted.get("warnedAt"),
        "kept_until": noted.get("keptUntil"),
        "extensions": noted.get("extensions", 0),
    }


def _decisive_condition(kernel: Object) -> Object:
    """The condition that the phase rests on."""
    for kind in ("Culled", "Failed", "Succeeded", "Running", "Admitted"):
        entry = condition(kernel, kind)
        if entry is not None:
            return entry
    return {}
