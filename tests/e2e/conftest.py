"""A hub on a real cluster, installed once for all end-to-end tests, and people who use it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from demo import install as by_manifests
from demo.install import HUB_NAMESPACE, Images, Installation, kubectl
from demo.observe import kernels_of, watching
from hub_service.kinds import JUPYTER_KERNELS, LABEL_OWNER, Object
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.modes import MODES, SPECIAL, Mode
from tests.e2e.support import House, OneKernel, everybody_leaves, give_out_class_data
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
    {"display_name": "No GPU kernels", "slug": "no-gpu",
     "kubespawner_override": {"gateway_mode": "per-user", "gateway_kernels": ["python"]}},
    {"display_name": "A limit for nobody", "slug": "no-limit",
     "kubespawner_override": {"gateway_mode": "shared", "gateway_kernels": ["python"]}},
    {"display_name": "A gateway with all rights", "slug": "ambitious",
     "kubespawner_override": {
         "gateway_mode": "per-user",
         "gateway_spec": {"image": c.KubeSpawner.image, "clusterRole": "cluster-admin"}}},
]

def add_a_sidecar(spawner, pod):
    pod.spec.containers.append({
        "name": "sidecar", "image": c.KubeSpawner.image, "command": ["sleep", "infinity"],
        "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    })
    return pod

c.KubeSpawner.modify_pod_hook = add_a_sidecar
"""


# GPUs are waited for sooner than the rest; both are longer than the tests take.
GPUS_SOONER = {"culling": {"gpu": {"idleTimeout": 1800}, "cpu": {"idleTimeout": 7200}}}


@pytest.fixture(scope="session")
def images() -> Images:
    return Images(os.environ.get("REGISTRY", Images.registry), os.environ.get("TAG", Images.tag))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in the modes that it is for; the hub is installed anew for each mode."""
    if "mode" not in metafunc.fixturenames:
        return
    marked = {mark.name for mark in metafunc.definition.iter_markers()}
    names = ["shared", "per-user"] if marked & {"both_modes", "per_user"} else ["shared"]
    if os.environ.get("ALL_MODES") and "one_mode" not in marked:
        names = list(MODES)
    if "per_user" in marked:
        names = [name for name in names if MODES[name].is_per_user]
    if "one_namespace" in marked:
        names = [name for name in names if not MODES[name].has_user_namespaces]
    names = [name for name in SPECIAL if name in marked] or names
    modes = [(MODES | SPECIAL)[name] for name in names]
    metafunc.parametrize("mode", modes, ids=names, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One mode after the other: each change of it installs the hub anew."""
    order = [*MODES, *SPECIAL]

    def place(item: pytest.Item) -> int:
        callspec = getattr(item, "callspec", None)
        mode = callspec.params.get("mode") if callspec else None
        return order.index(mode.name) if mode else -1

    items.sort(key=place)


@pytest.fixture(scope="session")
def installation(images: Images, mode: Mode) -> Iterator[Installation]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set (`make test` sets one up)")
    way = by_chart if os.environ.get(by_chart.VARIABLE) else by_manifests
    profiles = f"\nc.KubeSpawner.profile_list += {mode.profiles!r}\n"
    installed = way.install(
        images, GPUS_SOONER | mode.overrides, extra_config=GREEDY_NOTEBOOKS + profiles
    )
    if mode.has_class_data:
        give_out_class_data(images, installed.namespace)
    yield installed
    for target in ("deployment/hub", "deployment/proxy"):
        print(kubectl("-n", HUB_NAMESPACE, "logs", target, "--tail=400"))
    # The hub keeps in which namespace somebody's servers are, over their end.
    everybody_leaves(installed)
    if mode.has_user_namespaces:
        kubectl("delete", "namespace", "-l", LABEL_OWNER)


@pytest.fixture
def namespace(installation: Installation, mode: Mode) -> str:
    """Where the notebooks and kernels of `ada` are."""
    return mode.namespace_of("ada", installation.namespace)


@pytest.fixture
def everywhere(installation: Installation, mode: Mode) -> str | None:
    """The namespace of all users; None (all there are) where they have one each."""
    return None if mode.has_user_namespaces else installation.namespace


@pytest.fixture
def adas_gateway(installation: Installation, mode: Mode) -> tuple[str, str]:
    """Namespace and name of the JupyterGateway that `ada` uses."""
    return mode.gateway_of("ada", installation.namespace)


@pytest.fixture
async def cluster(installation: Installation) -> AsyncIterator[Cluster]:
    async with Cluster.from_environment() as cluster:
        yield cluster


@pytest.fixture
async def kernels(cluster: Cluster, everywhere: str | None) -> AsyncIterator[Reflector]:
    """A current copy of the JupyterKernels."""
    async with watching(cluster, JUPYTER_KERNELS, everywhere) as reflector:
        yield reflector


@pytest.fixture
async def house(installation: Installation) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(installation, stack)


@pytest.fixture
def kernel_of(cluster: Cluster, everywhere: str | None) -> OneKernel:
    """The one JupyterKernel of a user."""

    async def find(owner: str) -> Object:
        (kernel,) = await kernels_of(cluster, everywhere, owner)
        return kernel

    return find
