"""A hub on a real cluster, installed once for all end-to-end tests, and people who use it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from demo import install as by_manifests
from demo.install import HUB_NAMESPACE, Images, Installation, kubectl
from demo.observe import kernels_of, watching
from hub_service.kinds import JUPYTER_KERNELS, Object
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, OneKernel
from tests.z2jh import chart as by_chart

# Whatever can put a GPU into a notebook's pod does so in this hub, for all tests.
GREEDY_NOTEBOOKS = """
c.KubeSpawner.extra_resource_limits = {"nvidia.com/gpu": "1"}
c.KubeSpawner.init_containers = [{
    "name": "prepare", "image": c.KubeSpawner.image, "command": ["true"],
    "resources": {"limits": {"nvidia.com/gpu": "1"}},
}]
c.KubeSpawner.lifecycle_hooks = {"postStart": {"exec": {"command": ["touch", "/tmp/hooked"]}}}
c.KubeSpawner.profile_list = [
    {"display_name": "Plain", "slug": "plain", "default": True},
    {"display_name": "Two GPUs, please", "slug": "greedy",
     "kubespawner_override": {"extra_resource_limits": {"nvidia.com/gpu": "2"}}},
]

def add_a_sidecar(spawner, pod):
    pod.spec.containers.append({
        "name": "sidecar", "image": c.KubeSpawner.image, "command": ["sleep", "infinity"],
        "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    })
    return pod

c.KubeSpawner.modify_pod_hook = add_a_sidecar
"""


@pytest.fixture(scope="session")
def images() -> Images:
    return Images(os.environ.get("REGISTRY", Images.registry), os.environ.get("TAG", Images.tag))


@pytest.fixture(scope="session")
def installation(images: Images) -> Iterator[Installation]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set (`make test` sets one up)")
    way = by_chart if os.environ.get(by_chart.VARIABLE) else by_manifests
    yield way.install(images, extra_config=GREEDY_NOTEBOOKS)
    for target in ("deployment/hub", "deployment/proxy"):
        print(kubectl("-n", HUB_NAMESPACE, "logs", target, "--tail=400"))


@pytest.fixture
def namespace(installation: Installation) -> str:
    return installation.namespace


@pytest.fixture
async def cluster(installation: Installation) -> AsyncIterator[Cluster]:
    async with Cluster.from_environment() as cluster:
        yield cluster


@pytest.fixture
async def kernels(cluster: Cluster, namespace: str) -> AsyncIterator[Reflector]:
    """A current copy of the JupyterKernels."""
    async with watching(cluster, JUPYTER_KERNELS, namespace) as reflector:
        yield reflector


@pytest.fixture
async def house(installation: Installation) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(installation, stack)


@pytest.fixture
def kernel_of(cluster: Cluster, namespace: str) -> OneKernel:
    """The one JupyterKernel of a user."""

    async def find(owner: str) -> Object:
        (kernel,) = await kernels_of(cluster, namespace, owner)
        return kernel

    return find
