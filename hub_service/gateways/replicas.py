"""A gateway's pods. Each serves all of its kernels, and has a say in their end. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.kinds import (
    GATEWAY_PORT,
    LABEL_GATEWAY,
    Object,
    is_deleting,
    namespace_of,
    status_of,
)

# A pod's deletionTimestamp is when its grace is over. One that is still listed so long after it is
# on a node that is lost.
_LOST_AFTER = timedelta(minutes=1)


def gateway_of_pod(pod: Object) -> str:
    """Index of gateways' pods, by the text of the gateway's key."""
    return f"{namespace_of(pod)}/{pod['metadata']['labels'][LABEL_GATEWAY]}"


def urls(pods: Iterable[Object], now: datetime) -> list[str]:
    """Where the gateway's processes are reached that may have taken messages for a kernel.

    Those that are about to end are among them, and those that are not ready (any more).
    """
    return sorted(
        f"http://{status_of(pod)['podIP']}:{GATEWAY_PORT}" for pod in pods if _runs(pod, now)
    )


def serves(pod: Object | None) -> bool:
    """Whether a gateway's pod is there for clients: ready, and not about to end."""
    if pod is None or is_deleting(pod):
        return False
    conditions = status_of(pod).get("conditions") or []
    return any(entry.get("type") == "Ready" and entry["status"] == "True" for entry in conditions)


def _runs(pod: Object, now: datetime) -> bool:
    status = status_of(pod)
    ends = timestamps.parse(pod["metadata"].get("deletionTimestamp"))
    if ends is not None and now - ends > _LOST_AFTER:
        return False
    runs = any("running" in (c.get("state") or {}) for c in status.get("containerStatuses") or [])
    return status.get("phase") == "Running" and bool(status.get("podIP")) and runs
