"""What the cluster itself says of GPUs and pods, for the tour, the benchmarks and the tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

from hub_service.kinds import (
    CULLED,
    JUPYTER_KERNELS,
    LABEL_OWNER,
    PODS,
    Object,
    Resource,
    is_true,
    status_of,
)
from hub_service.kube import ApiError, Cluster
from hub_service.kube.reflector import Reflector
from hub_service.names import safe_label
from hub_service.pods.podsecurity import hardened

GPU = "nvidia.com/gpu"
NODES = Resource("", "v1", "nodes", "Node")


@contextlib.asynccontextmanager
async def watching(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    *,
    label_selector: str | None = None,
) -> AsyncIterator[Reflector]:
    """A local copy of one kind, kept current for as long as the block lasts."""
    reflector = Reflector(cluster, resource, namespace, label_selector=label_selector)
    task = asyncio.create_task(reflector.run())
    try:
        await reflector.synced(30)
        yield reflector
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def gpus_of(pod: Object) -> int:
    """GPUs that a pod requests; where only a limit was given, the API server has made it both."""
    containers = pod["spec"]["containers"]
    return sum(int((c.get("resources") or {}).get("requests", {}).get(GPU, 0)) for c in containers)


async def gpus_in_use(cluster: Cluster, namespace: str | None) -> int:
    """GPUs held by the pods of a namespace; None: of all."""
    return gpus_held((await cluster.list(PODS, namespace))["items"])


def gpus_held(pods: Iterable[Object]) -> int:
    """GPUs requested by those pods that sit on a node and have not ended."""
    return sum(gpus_of(pod) for pod in pods if _holds_its_resources(pod))


async def gpus_of_the_cluster(cluster: Cluster) -> int:
    """GPUs that the nodes offer."""
    nodes = await cluster.list(NODES, None)
    return sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in nodes["items"])


async def kernels_of(cluster: Cluster, namespace: str | None, owner: str) -> list[Object]:
    """The JupyterKernels of one user."""
    found = await cluster.list(
        JUPYTER_KERNELS, namespace, label_selector=f"{LABEL_OWNER}={safe_label(owner)}"
    )
    items: list[Object] = found["items"]
    return items


@contextlib.asynccontextmanager
async def gpu_pod(
    cluster: Cluster, namespace: str, name: str, image: str, gpus: int
) -> AsyncIterator[Object]:
    """A pod that isn't ours and wants GPUs, as another team's job would; removed afterwards."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "newcomer"}},
        "spec": hardened(
            {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "main",
                        "image": image,
                        "command": ["sleep", "3600"],
                        "resources": {"limits": {GPU: gpus}},
                    }
                ],
            }
        ),
    }
    created = await cluster.create(PODS, namespace, body)
    try:
        yield created
    finally:
        with contextlib.suppress(ApiError):
            await cluster.delete(PODS, namespace, name, grace_period=0)


async def until_culled(
    cluster: Cluster, namespace: str, kernel: str, kernels: Reflector, *, seconds: int
) -> float:
    """Shorten an idle kernel's time-out so that its deadline is about `seconds` away, and wait.

    Returns the deadline, in seconds since the epoch, once the kernel is said to be culled.
    """
    idle = await kernels.wait_for((namespace, kernel), _is_idle, 60)
    timeout = int(time.time() - _last_activity(idle)) + seconds
    patch = {"spec": {"cullIdleTimeout": timeout}}
    await cluster.merge_patch(JUPYTER_KERNELS, namespace, kernel, patch)
    culled = await kernels.wait_for((namespace, kernel), _is_culled, 60 + seconds)
    return _last_activity(culled) + timeout


def is_unschedulable(pod: Object | None) -> bool:
    """Whether the scheduler has said that there is no room for a pod."""
    conditions = status_of(pod or {}).get("conditions") or []
    return any(condition.get("reason") == "Unschedulable" for condition in conditions)


def is_scheduled(pod: Object | None) -> bool:
    """Whether the scheduler has found room for a pod: what it asks for was allocatable."""
    return bool(pod and pod["spec"].get("nodeName"))


def is_running(pod: Object | None) -> bool:
    """Whether a pod's containers run."""
    return bool(pod and pod.get("status", {}).get("phase") == "Running")


def _is_idle(kernel: Object | None) -> bool:
    activity = status_of(kernel or {}).get("activity") or {}
    return activity.get("executionState") == "idle"


def _is_culled(kernel: Object | None) -> bool:
    return kernel is not None and is_true(kernel, CULLED)


def _last_activity(kernel: Object | None) -> float:
    activity = status_of(kernel or {})["activity"]
    return datetime.fromisoformat(activity["lastActivity"]).timestamp()


def idle_since(kernel: Object | None) -> float:
    """Since when a kernel is idle, in seconds since the epoch; 0 while it isn't."""
    return _last_activity(kernel or {}) if _is_idle(kernel) else 0.0


def _holds_its_resources(pod: Object) -> bool:
    return is_scheduled(pod) and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
