"""How many kernels a user may have: admission as arithmetic on the kernels that there are.

Pure. Whoever decides must let no other decision for the same owner come between looking at the
kernels and remembering what was admitted (`assumed`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kernel import is_admitted, is_decided
from hub_service.kinds import (
    IDLE,
    Object,
    Phase,
    Reason,
    is_deleting,
    name_of,
    spec_of,
    status_of,
    uid_of,
)

_WAY_OUT = "Shut one down in JupyterLab (Running Terminals and Kernels) and start again."


class Decision(NamedTuple):
    """Whether a kernel may have a pod; reason and message of its condition Admitted."""

    admitted: bool
    reason: str
    message: str


def decide(
    kernel: Object,
    kernels: Iterable[Object],
    *,
    limit: int,
    assumed: Collection[str],
    now: datetime,
) -> Decision:
    """Admit a kernel whose admission isn't decided yet, or refuse it.

    `kernels` are those of the same owner, the kernel itself among them or not; `assumed` are the
    uids of those admitted already whose status doesn't show it yet. Kernels that came earlier and
    are still to be decided go first, so they count as well. Kernels that are over or being deleted
    don't count. A kernel without owner is nobody's, and admitted.
    """
    owner = spec_of(kernel).get("owner")
    if owner is None:
        return Decision(True, Reason.WITHIN_QUOTA, "The kernel has no owner, so no quota applies.")
    others = [
        other for other in kernels if uid_of(other) != uid_of(kernel) and not is_deleting(other)
    ]
    held = [
        other
        for other in others
        if is_admitted(other)
        or uid_of(other) in assumed
        or (not is_decided(other) and _order(other) < _order(kernel))
    ]
    if len(held) < limit:
        place = len(held) + 1
        return Decision(True, Reason.WITHIN_QUOTA, f"Kernel {place} of {limit} for {owner}.")
    return Decision(False, Reason.QUOTA_EXCEEDED, _refusal(owner, limit, held, now))


def _order(kernel: Object) -> tuple[str, str]:
    return kernel["metadata"].get("creationTimestamp", ""), uid_of(kernel)


def _refusal(owner: str, limit: int, held: list[Object], now: datetime) -> str:
    if limit == 0:
        return f"Kernel quota reached: {owner} may have no kernels. Ask your administrator."
    allowed = "1 kernel, and this one is" if limit == 1 else f"{limit} kernels, and these are"
    listed = ", ".join(_describe(kernel, now) for kernel in sorted(held, key=_order))
    return f"Kernel quota reached: {owner} may have {allowed} there: {listed}. {_WAY_OUT}"


def _describe(kernel: Object, now: datetime) -> str:
    """Name, spec and what the kernel is doing."""
    details = [spec_of(kernel).get("kernelSpecName"), _doing(kernel, now)]
    return f"{name_of(kernel)} ({', '.join(detail for detail in details if detail)})"


def _doing(kernel: Object, now: datetime) -> str:
    status = status_of(kernel)
    if status.get("phase") != Phase.RUNNING:
        return "starting"
    activity: Object = status.get("activity") or {}
    state = activity.get("executionState") or "running"
    since = timestamps.parse(activity.get("idleSince"))
    if state != IDLE or since is None:
        return str(state)
    return f"idle {_duration((now - since).total_seconds())}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(int(seconds), 0)} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min"
    return f"{int(seconds // 3600)} h"
