"""A gateway process, started once, for the tests that talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tornado.httpclient import AsyncHTTPClient

from hub_service.kinds import JUPYTER_GATEWAYS, JUPYTER_KERNEL_SPECS, JUPYTER_KERNEL_TEMPLATES
from hub_service.kube import Cluster
from tests.gateway.kernels import Kernels
from tests.gateway.support import (
    DEADLINE,
    ROOT,
    Client,
    StandInHub,
    a_namespace,
    install_crds,
    server_model,
    service_model,
)

# Of Enterprise Gateway's and its pins' own imports; nothing of ours is let off.
IGNORED = ("ignore:The distutils package is deprecated:DeprecationWarning",)


def pytest_configure(config: pytest.Config) -> None:
    for line in IGNORED:
        config.addinivalue_line("filterwarnings", line)


TEMPLATE = {
    "apiVersion": JUPYTER_KERNEL_TEMPLATES.api_version,
    "kind": JUPYTER_KERNEL_TEMPLATES.kind,
    "metadata": {"name": "plain"},
    "spec": {"template": {"metadata": {"app": "x"}, "spec": {"containers": [{"name": "kernel"}]}}},
}


@dataclass
class Gateway:
    """A gateway process and what surrounds it."""

    port: int
    namespace: str
    hub: StandInHub
    kernels: Kernels
    cluster: Cluster
    process: asyncio.subprocess.Process | None = None
    name: str = "shared"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, name: str) -> Client:
        """With the token of that user's own server."""
        token = f"token-of-{name.encode().hex()}"
        self.hub.models[token] = server_model(name)
        return Client(self.url, token)

    def service(self) -> Client:
        self.hub.models["service"] = service_model()
        return Client(self.url, "service")

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "elastic_spawner.gateway",
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/tmp",
                "KUBECONFIG": os.environ["KUBECONFIG"],
                "JUPYTERHUB_API_URL": self.hub.url,
                "ELASTIC_NAMESPACE": self.namespace,
                "ELASTIC_GATEWAY_NAME": self.name,
                "ELASTIC_PORT": str(self.port),
                "ELASTIC_LEAVE_AFTER": "0",
                "KERNEL_SECRET_OF_GATEWAY": "must-not-reach-kernels",
            },
        )
        await ready(self.url, self.process)

    async def stop(self, *, kill: bool = False) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), DEADLINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One for all tests that leave it as they found it."""
    async with a_gateway(tmp_path_factory.mktemp("kernels")) as gateway:
        yield gateway


@asynccontextmanager
async def a_gateway(folder: Path) -> AsyncIterator[Gateway]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no API server: KUBECONFIG is not set (`make test` sets one up)")
    async with Cluster.from_environment() as cluster:
        await install_crds(cluster)
        async with (
            a_namespace(cluster) as namespace,
            StandInHub().serving() as hub,
            Kernels(cluster, namespace, folder).running() as kernels,
        ):
            await cluster.create(JUPYTER_KERNEL_TEMPLATES, namespace, TEMPLATE)
            await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec("python"))
            await cluster.create(JUPYTER_GATEWAYS, namespace, resource("shared"))
            gateway = Gateway(free_port(), namespace, hub, kernels, cluster)
            await gateway.start()
            try:
                yield gateway
            finally:
                await gateway.stop()


def spec(name: str, **fields: object) -> dict[str, object]:
    return {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": name},
        "spec": {
            "language": "python",
            "displayName": "Python",
            "image": "kernel",
            "template": {"name": "plain"},
            "env": [{"name": "KERNEL_COLOUR", "value": "red"}],
            **fields,
        },
    }


def resource(name: str, **fields: object) -> dict[str, object]:
    """The JupyterGateway that a process serves."""
    return {
        "apiVersion": JUPYTER_GATEWAYS.api_version,
        "kind": JUPYTER_GATEWAYS.kind,
        "metadata": {"name": name},
        "spec": {
            "defaultKernel": "python",
            "startTimeout": 120,
            "startAnswerAfter": 2,
            "logLevel": "DEBUG",
            **fields,
        },
    }


async def ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(4 * DEADLINE):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                response = await AsyncHTTPClient().fetch(f"{url}/api/health", raise_error=False)
                if response.code == 200:
                    return
            await asyncio.sleep(0.05)  # nothing else tells that a process listens
    raise AssertionError(f"the gateway ended with {process.returncode}")
