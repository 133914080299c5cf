"""What the cluster holds at one moment, asked of the API server itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from demo.observe import gpus_held
from hub_service.kinds import (
    COMPONENT_GATEWAY,
    COMPONENT_KERNEL,
    JUPYTER_KERNELS,
    LABEL_COMPONENT,
    LABEL_KERNEL_ID,
    PODS,
    SECRETS,
    Object,
    Phase,
    controller,
    is_deleting,
    name_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster
from tests.faults.model import Kernel, Problem, Seen, compare

_LOOK_AGAIN = 0.3


async def look(cluster: Cluster, namespace: str) -> Seen:
    """Kernels' resources, pods and Secrets, and the GPUs that pods hold. ApiError."""
    found = await asyncio.gather(
        cluster.list(JUPYTER_KERNELS, namespace),
        cluster.list(PODS, namespace),
        cluster.list(SECRETS, namespace, LABEL_KERNEL_ID),
    )
    resources, all_pods, secrets = ([*one["items"]] for one in found)
    pods = [pod for pod in all_pods if _label(pod, LABEL_COMPONENT) == COMPONENT_KERNEL]
    # One that was told to end closes its websockets some seconds later.
    gateways = [pod for pod in all_pods if _label(pod, LABEL_COMPONENT) == COMPONENT_GATEWAY]
    return Seen(
        resources=tuple(map(name_of, resources)),
        pods=tuple(map(_kernel_of, pods)),
        secrets=tuple(map(name_of, secrets)),
        waiting=tuple(
            name_of(item) for item in resources if status_of(item).get("phase") != Phase.RUNNING
        ),
        deleting=tuple(
            f"{item['kind']} {name_of(item)}"
            for item in (*resources, *pods, *gateways, *secrets)
            if is_deleting(item)
        ),
        gpus=gpus_held(all_pods),
    )


async def settled(
    cluster: Cluster, namespace: str, kernels: Iterable[Kernel], seconds: float
) -> list[Problem]:
    """What still differs from the kernels that ought to live after that time; at best nothing."""
    ours, limit = list(kernels), time.monotonic() + seconds
    while True:
        try:
            problems = compare(ours, await look(cluster, namespace))
        except ApiError as error:  # the fault was the API server's
            problems = [Problem("stuck", f"the API server does not answer: {error}")]
        if not problems or time.monotonic() > limit:
            return problems
        await asyncio.sleep(_LOOK_AGAIN)


def _label(item: Object, name: str) -> str:
    return str((item["metadata"].get("labels") or {}).get(name, ""))


def _kernel_of(pod: Object) -> str:
    """The kernel's name; of a later incarnation's pod too."""
    owner = controller(pod, JUPYTER_KERNELS.kind)
    return str(owner["name"]) if owner else name_of(pod)
