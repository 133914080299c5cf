"""What has lost its owner is collected after the grace, on the real API server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from hub_service import orphans
from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    JUPYTER_KERNELS,
    NODES,
    PODS,
    SECRETS,
    Object,
    Resource,
    is_deleting,
    name_of,
)
from hub_service.kube import ApiError, Cluster
from tests.integration.support import Observed, reflecting

LABELS = {
    "app.kubernetes.io/component": "kernel",
    "app.kubernetes.io/managed-by": "elastic-hub-service",
}
SHORT = {"grace": 2}


def named(resource: Resource, name: str, **content: Any) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name},
        **content,
    }


async def exists(cluster: Cluster, resource: Resource, namespace: str | None, name: str) -> bool:
    try:
        await cluster.get(resource, namespace, name)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


async def test_kernels_end_some_time_after_their_gateway_unless_it_is_back(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    for name in ("leaves", "comes-back"):
        await cluster.create(JUPYTER_GATEWAYS, namespace, named(JUPYTER_GATEWAYS, name))
    async with running(orphans={"grace": 4}):
        lost = await start(gateway={"name": "leaves"})
        found = await start(gateway={"name": "comes-back"}, owner="bob")
        bound = await start(owner="carl")  # to no gateway: made by hand
        for kernel in (lost, found, bound):
            await observed.kernel(kernel, lambda status: status.get("podName"))
        for name in ("leaves", "comes-back"):
            await cluster.delete(JUPYTER_GATEWAYS, namespace, name)
        await cluster.create(JUPYTER_GATEWAYS, namespace, named(JUPYTER_GATEWAYS, "comes-back"))
        await observed.gone(lost)
        await observed.pod(name_of(lost), lambda pod: pod is None or is_deleting(pod))
        for kernel in (found, bound):
            assert await exists(cluster, JUPYTER_KERNELS, namespace, name_of(kernel))


async def test_pods_and_secrets_without_a_kernel_go_and_others_stay(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    def of_kernel(kernel_id: str) -> dict[str, str]:
        return {**LABELS, "kubeflow.tkestack.io/kernel-id": kernel_id}

    async def make(resource: Resource, name: str, labels: dict[str, str], **content: Any) -> None:
        body = named(resource, name, **content)
        body["metadata"]["labels"] = labels
        await cluster.create(resource, namespace, body)

    lost, mine = str(uuid.uuid4()), str(uuid.uuid4())
    spec = {"containers": [{"name": "kernel", "image": "none", "imagePullPolicy": "Never"}]}
    await make(PODS, f"kernel-{lost}", of_kernel(lost), spec=spec)
    await make(SECRETS, f"kernel-{lost}", of_kernel(lost), stringData={"connection.json": "{}"})
    await make(SECRETS, "database", of_kernel(mine))
    await make(SECRETS, f"kernel-{mine}", {})
    async with running(orphans=SHORT):
        kernel = await start()
        kernel_id = kernel["spec"]["kernelID"]
        await make(SECRETS, name_of(kernel), of_kernel(kernel_id))
        async with reflecting(cluster, SECRETS, namespace) as secrets:
            await secrets.wait_for((namespace, f"kernel-{lost}"), lambda item: item is None, 60)
            left = {name_of(item) for item in secrets.store}
        assert left >= {"database", f"kernel-{mine}", name_of(kernel)}
        await observed.pod(f"kernel-{lost}", lambda pod: pod is None or is_deleting(pod))
        assert await exists(cluster, PODS, namespace, name_of(kernel))


@pytest.fixture
async def silent_node(cluster: Cluster) -> Any:
    """A node that is in the API only."""
    name = f"silent-{uuid.uuid4().hex[:6]}"
    body = named(NODES, name)
    body["spec"] = {"taints": [{"key": "test", "effect": "NoSchedule"}]}
    await cluster.create(NODES, None, body)
    yield name
    if await exists(cluster, NODES, None, name):
        await cluster.delete(NODES, None, name)


async def test_a_pod_on_a_node_that_is_declared_dead_does_not_hang(
    cluster: Cluster,
    running: Callable[..., Any],
    start: Any,
    remove: Any,
    observed: Observed,
    silent_node: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orphans, "LATE", orphans.timedelta(seconds=1))
    async with running():
        kernel = await start(pod_spec={"nodeName": silent_node})
        name = name_of(kernel)
        await observed.pod(name, lambda pod: pod is not None)
        await remove(name)
        await observed.gone(kernel)  # the resource does not wait for the node
        await observed.pod(name, lambda pod: pod is not None and is_deleting(pod))
        taint = {"key": orphans.OUT_OF_SERVICE, "value": "off", "effect": "NoExecute"}
        assert observed.pods.store.get((observed.namespace, name)) is not None
        await cluster.merge_patch(NODES, None, silent_node, {"spec": {"taints": [taint]}})
        await observed.pod(name, lambda pod: pod is None)
