"""A namespace of its own on the cluster of KUBECONFIG for each test, and the service in it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.install import Images, kubectl
from hub_service import settings, timestamps
from hub_service.hub.groups import Group
from hub_service.hub.known_groups import FetchGroups
from hub_service.hub.servers import Server
from hub_service.kinds import JUPYTER_KERNELS, Object, Resource, name_of
from hub_service.kube import Cluster
from hub_service.reconcile.culling import GatewayUrls
from hub_service.reconcile.servers import ServersOf, Tell
from hub_service.worker import Worker
from tests.integration.gateway_stand_in import StandIn, listening
from tests.integration.support import Observed
from tests.real_hub import SERVICE_TOKEN, RealHub, real_hub

# Kueue is built from source for it: `make test-kueue`.
collect_ignore = [] if os.environ.get("KUEUE") else ["test_kueue.py"]

ROOT = Path(__file__).parent.parent.parent
NAMESPACES = Resource("", "v1", "namespaces", "Namespace")


async def nobody_knows(_user: str) -> None:
    """A hub that gives no answer about servers."""


async def nobody_listens(_server: Server, _moment: datetime) -> bool:
    """A hub that does not take note of activity."""
    return False


async def no_groups() -> list[Group]:
    """A hub without groups."""
    return []


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub's API; groups that a test makes there stay for those that follow."""
    with real_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="session")
def images() -> Images:
    return Images(os.environ.get("REGISTRY", Images.registry), os.environ.get("TAG", Images.tag))


@pytest.fixture(scope="session")
def definitions() -> None:
    """The custom resource definitions are installed."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set (`make test` sets one up)")
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))


@pytest.fixture
async def cluster(definitions: None) -> AsyncIterator[Cluster]:
    async with Cluster.from_environment() as cluster:
        yield cluster


@pytest.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    name = f"service-{uuid.uuid4().hex[:8]}"
    await cluster.create(NAMESPACES, None, {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await cluster.delete(NAMESPACES, None, name)


@pytest.fixture
async def observed(cluster: Cluster, namespace: str) -> AsyncIterator[Observed]:
    """Kernels and pods of the namespace, as they are."""
    async with Observed.of(cluster, namespace) as observed:
        yield observed


@pytest.fixture
def config(namespace: str) -> Callable[..., settings.Settings]:
    """Settings for the test's namespace; keyword arguments are sections in camelCase."""

    def build(**sections: Any) -> settings.Settings:
        wanted = {
            "namespace": namespace,
            # Most tests need no gateway that runs.
            "gateway": {"name": "shared", "image": "elastic/none:none", "imagePullPolicy": "Never"},
            "hub": {"apiUrl": "http://127.0.0.1:9/hub/api"},
            **sections,
        }
        return settings.parse(wanted)

    return build


@pytest.fixture
def running(cluster: Cluster, config: Callable[..., settings.Settings]) -> Callable[..., Any]:
    """Runs the service's worker in this process."""

    @asynccontextmanager
    async def run(
        *,
        gateway_urls: GatewayUrls | None = None,
        servers_of: ServersOf = nobody_knows,
        tell: Tell = nobody_listens,
        fetch_groups: FetchGroups = no_groups,
        **sections: Any,
    ) -> AsyncIterator[Worker]:
        worker = Worker(
            cluster,
            config(**sections),
            SERVICE_TOKEN,
            identity=uuid.uuid4().hex,
            servers_of=servers_of,
            tell=tell,
            fetch_groups=fetch_groups,
            gateway_urls=gateway_urls,
        )
        task = asyncio.create_task(worker.run())
        try:
            yield worker
            assert not task.done(), "the worker ended"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return run


@pytest.fixture
def start(cluster: Cluster, namespace: str, images: Images) -> Callable[..., Any]:
    """Creates a JupyterKernel whose container sleeps."""

    async def create(
        owner: str | None = "alice",
        *,
        container: Object | None = None,
        pod_spec: Object | None = None,
        where: str | None = None,
        name: str | None = None,
        **spec: Any,
    ) -> Object:
        kernel_id = str(uuid.uuid4())
        default = {
            "name": "kernel",
            "image": images.name("kernel"),
            "imagePullPolicy": images.pull_policy,
            "command": ["sleep", "3600"],
        }
        body = {
            "apiVersion": JUPYTER_KERNELS.api_version,
            "kind": JUPYTER_KERNELS.kind,
            "metadata": {"name": name or f"kernel-{kernel_id}"},
            "spec": {
                **({} if owner is None else {"owner": owner}),
                "kernelID": kernel_id,
                "kernelSpecName": "python",
                "template": {
                    "spec": {"containers": [{**default, **(container or {})}], **(pod_spec or {})}
                },
                **spec,
            },
        }
        return await cluster.create(JUPYTER_KERNELS, where or namespace, body)

    return create


@pytest.fixture
def remove(cluster: Cluster, namespace: str) -> Callable[..., Any]:
    """Deletes a kernel or a pod by name."""

    async def delete(name: str, resource: Resource = JUPYTER_KERNELS) -> None:
        await cluster.delete(resource, namespace, name)

    return delete


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    """A gateway that answers what the test tells it to."""
    async with listening() as gateway:
        yield gateway


@pytest.fixture
def serving(running: Any, stand_in: StandIn) -> Any:
    """The worker, with the stand-in for every gateway."""

    def run(timeout: int, **sections: Any) -> Any:
        return running(
            gateway_urls=lambda _name, _namespace: [stand_in.url],
            **({"culling": {"idleTimeout": timeout}} | sections),
        )

    return run


@pytest.fixture
def report(cluster: Cluster, namespace: str) -> Any:
    """Writes a kernel's activity as its gateway would; None takes a field away."""

    async def write(kernel: Object, state: str, *, seconds_ago: float = 0, **more: Any) -> None:
        moment = timestamps.microseconds(datetime.now(UTC) - timedelta(seconds=seconds_ago))
        activity = {
            "executionState": state,
            "lastActivity": moment,
            "idleSince": moment if state == "idle" else None,
            **more,
        }
        await cluster.merge_patch(
            JUPYTER_KERNELS,
            namespace,
            name_of(kernel),
            {"status": {"activity": activity}},
            subresource="status",
        )

    return write
