"""What is left over when its owner has gone, and when it may go as well. Pure.

Unknown is not gone: where nobody could say whether the owner is there, everything stays. An owner
that is missing is waited for: a gateway that was deleted may be made again, and then finds its
kernels; a gateway makes a kernel's Secret a moment before the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service.kinds import (
    COMPONENT_KERNEL,
    JUPYTER_KERNELS,
    LABEL_COMPONENT,
    LABEL_KERNEL_ID,
    Object,
    controller,
    is_deleting,
    name_of,
    spec_of,
)
from hub_service.names import kernel_name
from hub_service.warm.pods import pool_of

# Secrets of kernels, as gateways make them.
SECRETS_SELECTOR = f"{LABEL_COMPONENT}={COMPONENT_KERNEL},{LABEL_KERNEL_ID}"
# With this taint an administrator says that a node is shut down and nothing runs there.
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
# For how long after its grace period a pod's end is waited for before its node is looked at.
LATE = timedelta(seconds=30)


@dataclass(frozen=True)
class Stay:
    """It stays. `missing_since`: since when its owner is missing; None where it is there.

    Look again at `until`; None: when something changes.
    """

    missing_since: datetime | None
    until: datetime | None


@dataclass(frozen=True)
class Go:
    """Its owner has been gone for long enough."""


def decide(
    owner_is_there: bool | None,
    missing_since: datetime | None,
    now: datetime,
    *,
    grace: timedelta,
) -> Stay | Go:
    """About something with an owner; `owner_is_there` is None where nobody could say.

    missing_since: what the last decision said.
    """
    if owner_is_there:
        return Stay(None, None)
    if owner_is_there is None:
        return Stay(missing_since, now + grace)
    since = missing_since or now
    return Go() if now - since >= grace else Stay(since, since + grace)


def is_without_kernel(pod: Object) -> bool:
    """Whether a kernel's pod, by its labels, belongs to no JupyterKernel by its references.

    A warm one belongs to a JupyterKernelSpec.
    """
    if is_deleting(pod) or pool_of(pod) is not None:
        return False
    return controller(pod, JUPYTER_KERNELS.kind) is None


def kernel_of_labels(item: Object) -> str | None:
    """The name of the JupyterKernel that a pod's or Secret's labels name."""
    kernel_id = (item["metadata"].get("labels") or {}).get(LABEL_KERNEL_ID)
    return kernel_name(kernel_id) if kernel_id else None


def is_kernels_secret(secret: Object) -> bool:
    """Whether a Secret is one that a gateway made for a kernel."""
    return name_of(secret) == kernel_of_labels(secret)


def overdue_at(pod: Object, deleting_since: datetime) -> datetime:
    """When a pod that is being deleted ought to be gone."""
    seconds = pod["metadata"].get("deletionGracePeriodSeconds")
    if seconds is None:
        seconds = spec_of(pod).get("terminationGracePeriodSeconds") or 0
    return deleting_since + timedelta(seconds=int(seconds)) + LATE


def is_certainly_dead(node: Object | None) -> bool:
    """Whether nothing can run on a node (None: there is no such node) any more.

    A node that only doesn't answer may still run the kernel, and the kernel still write its user's
    files: its pods wait until it answers, is deleted, or is declared out of service.
    """
    if node is None:
        return True
    return any(taint.get("key") == OUT_OF_SERVICE for taint in spec_of(node).get("taints") or [])
