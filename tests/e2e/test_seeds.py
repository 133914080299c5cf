"""elastic-jupyter-operator's own examples, as they are, on the service without a hub.

Only the names of the images differ from what its users have.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo.client import RequestFailedError
from demo.install import ROOT, Images, kubectl
from demo.observe import watching
from demo.visitor import visit
from hub_service import timestamps
from hub_service.kinds import (
    CULLED,
    JUPYTER_GATEWAYS,
    JUPYTER_KERNELS,
    JUPYTER_NOTEBOOKS,
    PODS,
    SECRETS,
    Object,
    condition,
    is_true,
    name_of,
    status_of,
)
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector

NAMESPACE = "default"
SYSTEM = "elastic-system"
STANDALONE = ROOT / "helm-values" / "standalone.yaml"
EXAMPLES = ROOT / "examples"
SECONDS = 90.0


def with_images(path: Path, images: Images) -> str:
    """A manifest, or all of a folder's, with the images under test."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    text = "\n---\n".join(file.read_text() for file in files)
    for image in ("hub", "gateway", "notebook", "kernel"):
        text = text.replace(f"elastic/{image}:dev", images.name(image))
    return text


@pytest.fixture(scope="module")
def service(images: Images) -> Iterator[None]:
    """The service without a hub, looking after the namespace `default`."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set (`make test` sets one up)")
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    manifest = with_images(STANDALONE, images)
    kubectl("apply", "-f", "-", manifest=manifest)
    kubectl("-n", SYSTEM, "rollout", "status", "deployment/elastic-service", "--timeout=120s")
    yield
    print(kubectl("-n", SYSTEM, "logs", "deployment/elastic-service", "--tail=400"))
    # The ClusterRole is a hub's gateways' as well, where there is one.
    kubectl("delete", "--ignore-not-found", "namespace", SYSTEM)
    kubectl("-n", NAMESPACE, "delete", "role,rolebinding", "elastic-service")
    kubectl("-n", NAMESPACE, "delete", "jupyterkernelspec", "python")


@pytest.fixture
async def cluster(service: None) -> AsyncIterator[Cluster]:
    async with Cluster.from_environment() as cluster:
        yield cluster


@pytest.fixture
async def kernels(cluster: Cluster) -> AsyncIterator[Reflector]:
    async with watching(cluster, JUPYTER_KERNELS, NAMESPACE) as reflector:
        yield reflector


@pytest.fixture
async def applied(
    request: pytest.FixtureRequest, cluster: Cluster, images: Images
) -> AsyncIterator[None]:
    """A folder of examples, applied and available; deleted afterwards, and gone."""
    manifest = with_images(EXAMPLES / request.param, images)
    suffix = request.param
    kubectl("apply", "-n", NAMESPACE, "-f", "-", manifest=manifest)
    try:
        async with (
            watching(cluster, JUPYTER_GATEWAYS, NAMESPACE) as gateways,
            watching(cluster, JUPYTER_NOTEBOOKS, NAMESPACE) as notebooks,
        ):
            await gateways.wait_for((NAMESPACE, f"jupytergateway-{suffix}"), is_available, SECONDS)
            await notebooks.wait_for(
                (NAMESPACE, f"jupyternotebook-{suffix}"), is_available, SECONDS
            )
        yield
    finally:
        kubectl("delete", "-n", NAMESPACE, "--ignore-not-found", "-f", "-", manifest=manifest)


def is_available(item: Object | None) -> bool:
    return item is not None and is_true(item, "Available")


@pytest.mark.parametrize("applied", ["elastic"], indirect=True)
async def test_gateway_and_notebook(applied: None, cluster: Cluster, kernels: Reflector) -> None:
    async with visit(NAMESPACE, "jupyternotebook-elastic") as visitor:
        await visitor.login()
        kernel = await visitor.start_kernel("python")
        assert (await visitor.run(kernel, "print(6 * 7)")).text == "42\n"

        pod = await cluster.get(PODS, NAMESPACE, f"kernel-{kernel}")
        assert status_of(pod)["phase"] == "Running"
        resource = kernels.store.get((NAMESPACE, f"kernel-{kernel}")) or {}
        assert resource["spec"]["owner"] == "notebook/default/jupyternotebook-elastic"
        assert "server" not in resource["spec"]
        async with watching(cluster, JUPYTER_GATEWAYS, NAMESPACE) as gateways:
            await gateways.wait_for(
                (NAMESPACE, "jupytergateway-elastic"),
                lambda g: g is not None and status_of(g)["kernels"] == 1,
                SECONDS,
            )

    # The notebook takes its kernels along.
    delete = ("-n", NAMESPACE, "delete", "jupyternotebook", "jupyternotebook-elastic")
    await asyncio.to_thread(kubectl, *delete)
    await kernels.wait_for((NAMESPACE, f"kernel-{kernel}"), lambda k: k is None, SECONDS)


@pytest.mark.parametrize("applied", ["elastic-with-custom-kernels"], indirect=True)
async def test_a_kernel_of_ones_own_that_is_culled_after_ten_seconds(
    applied: None, cluster: Cluster, kernels: Reflector
) -> None:
    async with (
        watching(cluster, PODS, NAMESPACE) as pods,
        visit(NAMESPACE, "jupyternotebook-elastic-with-custom-kernels") as visitor,
    ):
        await visitor.login()
        listed = (await visitor.kernelspecs())["kernelspecs"]
        assert set(listed) == {"python-kubernetes"}
        name = listed["python-kubernetes"]["spec"]["display_name"]
        assert name == "Python on Kubernetes as a JupyterKernelSpec"

        kernel = await visitor.start_kernel("python-kubernetes")
        assert (await visitor.run(kernel, "print(6 * 7)")).text == "42\n"
        key = (NAMESPACE, f"kernel-{kernel}")
        pod = pods.store.get(key) or {}
        labels = pod["metadata"]["labels"]
        assert (labels["app"], labels["component"]) == ("enterprise-gateway", "kernel")
        # What the template says of restarts is corrected, and said.
        template = condition(kernels.store.get(key) or {}, "TemplateAccepted")
        assert template is not None
        assert "restartPolicy" in template["message"]

        culled = await kernels.wait_for(key, lambda k: k is not None and is_true(k, CULLED), 30)
        ended = datetime.now(UTC)
        assert culled is not None
        last = timestamps.parse(status_of(culled)["activity"]["lastActivity"])
        assert last is not None
        idle = (ended - last).total_seconds()
        assert 10 <= idle < 15, idle
        await pods.wait_for(key, lambda p: p is None, 30)
        print(f"culled after {idle:.1f} s of idleness")


@pytest.mark.long
async def test_a_notebook_of_its_own_asks_for_the_token_that_was_made_up(cluster: Cluster) -> None:
    name = "jupyternotebook-alone"
    body = {
        "apiVersion": JUPYTER_NOTEBOOKS.api_version,
        "kind": JUPYTER_NOTEBOOKS.kind,
        "metadata": {"name": name},
    }
    made = await cluster.create(JUPYTER_NOTEBOOKS, NAMESPACE, body)
    try:
        async with watching(cluster, JUPYTER_NOTEBOOKS, NAMESPACE) as notebooks:
            ready = await notebooks.wait_for((NAMESPACE, name), is_available, SECONDS)
        assert ready is not None
        secret = await cluster.get(SECRETS, NAMESPACE, status_of(ready)["secretName"])
        token = base64.b64decode(secret["data"]["token"]).decode()
        async with visit(NAMESPACE, name) as visitor:
            await visitor.login()  # shows a page that asks for it
            with pytest.raises(RequestFailedError) as refused:
                await visitor.kernels()
            assert refused.value.status == 403
            await visitor.login(token)
            kernel = await visitor.start_kernel("python3")
            assert (await visitor.run(kernel, "print(6 * 7)")).text == "42\n"
        pods = await cluster.list(PODS, NAMESPACE, "app.kubernetes.io/component=kernel")
        assert pods["items"] == []
    finally:
        await cluster.delete(JUPYTER_NOTEBOOKS, NAMESPACE, name_of(made))
