"""JupyterGateways on a real cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from demo.install import Images
from hub_service.kinds import (
    DEPLOYMENTS,
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    ROLE_BINDINGS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Object,
    Resource,
    name_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster, Reflector
from tests.integration.conftest import NAMESPACES, ROOT
from tests.integration.support import DEADLINE, Observed, reflecting, says

NO_IMAGE = {"name": "shared", "image": "elastic/none:none", "imagePullPolicy": "Never"}
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole")


@pytest.fixture
async def gateways(cluster: Cluster, namespace: str) -> AsyncIterator[Reflector]:
    async with reflecting(cluster, JUPYTER_GATEWAYS, namespace) as reflector:
        yield reflector


@pytest.fixture
async def cluster_role(cluster: Cluster, namespace: str) -> AsyncIterator[str]:
    """The rights of gateways, as shipped, under a name of the test's own."""
    documents = yaml.safe_load_all((ROOT / "helm-values" / "rbac.yaml").read_text())
    (shipped,) = [d for d in documents if d["metadata"]["name"] == "elastic-gateway"]
    body = {**shipped, "metadata": {"name": f"{namespace}-gateway"}}
    await cluster.create(CLUSTER_ROLES, None, body)
    yield body["metadata"]["name"]
    await cluster.delete(CLUSTER_ROLES, None, body["metadata"]["name"])


async def test_the_shared_gateway_comes_from_the_settings(
    cluster: Cluster, namespace: str, running: Any, gateways: Reflector
) -> None:
    wanted = {
        "name": "shared",
        "image": "elastic/none:none",
        "imagePullPolicy": "Never",
        "cullIdleTimeout": 60,
        "logLevel": "DEBUG",
    }
    async with running(gateway=wanted):
        found = await gateways.wait_for((namespace, "shared"), says("Accepted", "True"), DEADLINE)
        assert found is not None
        assert found["spec"]["cullIdleTimeout"] == 60
        assert found["spec"]["logLevel"] == "DEBUG"
        assert status_of(found)["url"] == f"http://shared.{namespace}:8888"
        assert says("Available", "False")(found)
        for resource in (DEPLOYMENTS, SERVICES, SERVICE_ACCOUNTS, ROLE_BINDINGS):
            part = await cluster.get(resource, namespace, "shared")
            assert part["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    # Settings that no longer say a thing take it back.
    del wanted["cullIdleTimeout"]
    async with running(gateway=wanted):
        await gateways.wait_for(
            (namespace, "shared"), lambda g: g and "cullIdleTimeout" not in g["spec"], DEADLINE
        )


async def test_a_gateway_runs_under_the_strictest_profile(
    cluster: Cluster,
    namespace: str,
    running: Any,
    gateways: Reflector,
    cluster_role: str,
    images: Images,
) -> None:
    profile = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.merge_patch(NAMESPACES, None, namespace, {"metadata": {"labels": profile}})
    wanted = {
        "name": "shared",
        "image": images.name("gateway"),
        "imagePullPolicy": images.pull_policy,
        "clusterRole": cluster_role,
    }
    async with running(gateway=wanted):
        found = await gateways.wait_for((namespace, "shared"), says("Available", "True"), 120)
    assert status_of(found or {})["readyReplicas"] == 1


async def test_what_somebody_changes_is_put_right(
    cluster: Cluster, namespace: str, running: Any, gateways: Reflector
) -> None:
    async with (
        running(),
        reflecting(cluster, DEPLOYMENTS, namespace) as deployments,
    ):
        await gateways.wait_for((namespace, "shared"), says("Accepted", "True"), DEADLINE)
        other = {"spec": {"template": {"spec": {"serviceAccountName": "default"}}}}
        await cluster.merge_patch(DEPLOYMENTS, namespace, "shared", other)
        await deployments.wait_for(
            (namespace, "shared"),
            lambda d: d and d["spec"]["template"]["spec"]["serviceAccountName"] == "shared",
            DEADLINE,
        )
        await cluster.delete(DEPLOYMENTS, namespace, "shared")
        await deployments.wait_for((namespace, "shared"), lambda d: d is None, DEADLINE)
        await deployments.wait_for((namespace, "shared"), lambda d: d is not None, DEADLINE)


async def test_a_spec_that_cannot_be_is_reported_and_can_be_mended(
    cluster: Cluster, namespace: str, running: Any, gateways: Reflector
) -> None:
    body = {
        "apiVersion": JUPYTER_GATEWAYS.api_version,
        "kind": JUPYTER_GATEWAYS.kind,
        "metadata": {"name": "mine"},
        "spec": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
    }
    async with running():
        await cluster.create(JUPYTER_GATEWAYS, namespace, body)
        await gateways.wait_for(
            (namespace, "mine"),
            says("Accepted", "False", "must be less than or equal to cpu limit"),
            DEADLINE,
        )
        mended = {"spec": {"resources": {"requests": {"cpu": "1"}}}}
        await cluster.merge_patch(JUPYTER_GATEWAYS, namespace, "mine", mended)
        await gateways.wait_for((namespace, "mine"), says("Accepted", "True"), DEADLINE)


async def test_another_role_replaces_the_binding_and_nothing_else(
    cluster: Cluster, namespace: str, running: Any, gateways: Reflector, cluster_role: str
) -> None:
    async with (
        running(gateway={**NO_IMAGE, "clusterRole": cluster_role}),
        reflecting(cluster, ROLE_BINDINGS, namespace) as bindings,
    ):
        key = (namespace, "shared")
        await gateways.wait_for(key, says("Accepted", "True"), DEADLINE)
        generation = (await cluster.get(DEPLOYMENTS, *key))["metadata"]["generation"]
        body = {"spec": {"clusterRole": "view"}}
        await cluster.merge_patch(JUPYTER_GATEWAYS, *key, body)
        await bindings.wait_for(key, lambda b: b and b["roleRef"]["name"] == "view", DEADLINE)
        await gateways.wait_for(
            key, lambda g: says("Accepted", "True")(g) and _is_observed(g), DEADLINE
        )
        after = await cluster.get(DEPLOYMENTS, *key)
        assert after["metadata"]["generation"] == generation


async def test_what_the_gateway_reads_itself_rolls_nothing_out(
    cluster: Cluster, namespace: str, running: Any, gateways: Reflector
) -> None:
    key = (namespace, "shared")
    async with running():
        await gateways.wait_for(key, says("Accepted", "True"), DEADLINE)
        generation = (await cluster.get(DEPLOYMENTS, *key))["metadata"]["generation"]
        live = {
            "kernels": ["r"],
            "defaultKernel": "r",
            "logLevel": "DEBUG",
            "startTimeout": 20,
            "startAnswerAfter": 2,
            "startGrace": 30,
            "cullIdleTimeout": 10,
            "cullInterval": 10,
            "notebookNamespaces": ["*"],
            "owner": "ada",
        }
        await cluster.merge_patch(JUPYTER_GATEWAYS, *key, {"spec": live})
        await gateways.wait_for(key, says("KernelSpecsFound", "False", "spec.kernels: r"), DEADLINE)
        spec = {
            "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
            "kind": JUPYTER_KERNEL_SPECS.kind,
            "metadata": {"name": "r"},
            "spec": {"image": "x"},
        }
        await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec)
        await gateways.wait_for(key, says("KernelSpecsFound", "True"), DEADLINE)
        after = await cluster.get(DEPLOYMENTS, *key)
        assert after["metadata"]["generation"] == generation


async def test_kernels_that_are_alive_are_counted(
    cluster: Cluster,
    namespace: str,
    running: Any,
    gateways: Reflector,
    start: Any,
    remove: Any,
    observed: Observed,
) -> None:
    def counts(number: int) -> Any:
        return lambda g: g is not None and status_of(g).get("kernels") == number

    key = (namespace, "shared")
    async with running(quota={"kernelsPerUser": 2}):
        await gateways.wait_for(key, counts(0), DEADLINE)
        kernels = [await start(gateway={"name": "shared"}) for _ in range(3)]
        phases = [await observed.phase(kernel, "Running", "Refused") for kernel in kernels]
        assert sorted(status_of(k)["phase"] for k in phases) == ["Refused", "Running", "Running"]
        await gateways.wait_for(key, counts(2), DEADLINE)
        for kernel in kernels:
            await remove(name_of(kernel))
        await gateways.wait_for(key, counts(0), DEADLINE)


def _is_observed(item: Object | None) -> bool:
    return bool(item) and status_of(item)["observedGeneration"] == item["metadata"]["generation"]


async def test_a_deleted_gateway_takes_its_parts_along(
    cluster: Cluster, namespace: str, running: Any, gateways: Reflector
) -> None:
    async with (
        running(),
        reflecting(cluster, DEPLOYMENTS, namespace) as deployments,
    ):
        await gateways.wait_for((namespace, "shared"), says("Accepted", "True"), DEADLINE)
        await cluster.delete(JUPYTER_GATEWAYS, namespace, "shared")
        await deployments.wait_for((namespace, "shared"), lambda d: d is None, DEADLINE)
    with pytest.raises(ApiError, match="not found"):
        await cluster.get(JUPYTER_GATEWAYS, namespace, "shared")


async def test_nothing_is_written_when_nothing_changes(
    namespace: str, running: Any, gateways: Reflector, cluster: Cluster
) -> None:
    async with (
        running(),
        reflecting(cluster, DEPLOYMENTS, namespace) as deployments,
    ):
        await gateways.wait_for((namespace, "shared"), says("Accepted", "True"), DEADLINE)
        await deployments.wait_for(
            (namespace, "shared"), lambda d: d and status_of(d).get("unavailableReplicas"), DEADLINE
        )
    before = {
        resource: (await cluster.get(resource, namespace, "shared"))["metadata"]["resourceVersion"]
        for resource in (SERVICES, SERVICE_ACCOUNTS, ROLE_BINDINGS)
    }
    generation = (await cluster.get(DEPLOYMENTS, namespace, "shared"))["metadata"]["generation"]
    async with running():
        body = {"metadata": {"labels": {"note": "x"}}}  # brings the gateway to the service's eyes
        await cluster.merge_patch(JUPYTER_GATEWAYS, namespace, "shared", body)
        other = {
            "apiVersion": JUPYTER_GATEWAYS.api_version,
            "kind": JUPYTER_GATEWAYS.kind,
            "metadata": {"name": "other"},
        }
        await cluster.create(JUPYTER_GATEWAYS, namespace, other)
        await gateways.wait_for((namespace, "other"), says("Accepted", "True"), DEADLINE)
    for resource, version in before.items():
        part = await cluster.get(resource, namespace, "shared")
        assert part["metadata"]["resourceVersion"] == version
    deployment = await cluster.get(DEPLOYMENTS, namespace, "shared")
    assert deployment["metadata"]["generation"] == generation
