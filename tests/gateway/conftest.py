"""A gateway process, started once, for the tests that talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from tornado.httpclient import AsyncHTTPClient

from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNEL_TEMPLATES
from hub_service.kube import Cluster
from tests.gateway.support import (
    DEADLINE,
    ROOT,
    Client,
    Kernels,
    StandInHub,
    a_namespace,
    install_crds,
    server_model,
    service_model,
)


@dataclass
class Gateway:
    """A running gateway and what surrounds it."""

    url: str
    namespace: str
    hub: StandInHub
    kernels: Kernels
    cluster: Cluster
    process: asyncio.subprocess.Process

    def client(self, name: str) -> Client:
        """With the token of that user's own server."""
        token = f"token of {name}"
        self.hub.models[token] = server_model(name)
        return Client(self.url, token)

    def service(self) -> Client:
        self.hub.models["service"] = service_model()
        return Client(self.url, "service")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no API server: KUBECONFIG is not set (`make test` sets one up)")
    async with Cluster.from_environment() as cluster:
        await install_crds(cluster)
        async with (
            a_namespace(cluster) as namespace,
            StandInHub().serving() as hub,
            Kernels(cluster, namespace, tmp_path_factory.mktemp("kernels")).running() as kernels,
        ):
            await cluster.create(
                JUPYTER_KERNEL_TEMPLATES,
                namespace,
                {
                    "apiVersion": JUPYTER_KERNEL_TEMPLATES.api_version,
                    "kind": JUPYTER_KERNEL_TEMPLATES.kind,
                    "metadata": {"name": "plain"},
                    "spec": {
                        "template": {
                            "metadata": {"app": "x"},
                            "spec": {"containers": [{"name": "kernel"}]},
                        }
                    },
                },
            )
            await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec("python"))
            port = free_port()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-Werror::ResourceWarning",
                "-m",
                "elastic_spawner.gateway",
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": "/tmp",
                    "KUBECONFIG": os.environ["KUBECONFIG"],
                    "JUPYTERHUB_API_URL": hub.url,
                    "ELASTIC_NAMESPACE": namespace,
                    "ELASTIC_GATEWAY_NAME": "shared",
                    "ELASTIC_DEFAULT_KERNEL": "python",
                    "ELASTIC_START_TIMEOUT": "20",
                    "ELASTIC_LOG_LEVEL": "DEBUG",
                    "ELASTIC_PORT": str(port),
                    "GATEWAY_SECRET": "must-not-reach-kernels",
                },
            )
            url = f"http://127.0.0.1:{port}"
            await ready(url, process)
            try:
                yield Gateway(url, namespace, hub, kernels, cluster, process)
            finally:
                if process.returncode is None:
                    process.terminate()
                await asyncio.wait_for(process.wait(), DEADLINE)


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


async def ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(DEADLINE):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                response = await AsyncHTTPClient().fetch(f"{url}/api/health", raise_error=False)
                if response.code == 200:
                    return
            await asyncio.sleep(0.05)  # nothing else tells that a process listens
    raise AssertionError(f"the gateway ended with {process.returncode}")
