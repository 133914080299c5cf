"""The service as a process of its own, without a hub, on a namespace made for the measurement.

It has the rights of helm-values/standalone.yaml and no more, and a FlowSchema of its own, by which
the API server itself counts its requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml

from demo.install import ROOT, kubectl
from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    NAMESPACES,
    Object,
    Resource,
)
from hub_service.kube import ApiError, Cluster

T = TypeVar("T")

IN_FLIGHT = 32
GATEWAY = "simulated"
SPEC = "python"
_FLOW_SCHEMAS = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema")
_ACCOUNT = "elastic-service"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SECONDS = 300.0


async def each(
    items: Iterable[T], do: Callable[[T], Awaitable[Any]], *, in_flight: int = IN_FLIGHT
) -> None:
    """Do it with each item, so many at a time."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())


@contextlib.asynccontextmanager
async def fresh_namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace for one measurement; it is gone with all that is in it before the next."""
    name = f"bench-{secrets.token_hex(4)}"
    await cluster.create(NAMESPACES, None, {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await cluster.delete(NAMESPACES, None, name)
        async with asyncio.timeout(_SECONDS):
            while await _is_there(cluster, name):  # noqa: ASYNC110
                await asyncio.sleep(0.5)


async def _is_there(cluster: Cluster, name: str) -> bool:
    try:
        await cluster.get(NAMESPACES, None, name)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Service:
    """A service that is ready."""

    pid: int
    flow_schema: str

    def cpu_seconds(self) -> float:
        """What its processes have used."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._processes()) / _TICKS

    def rss_mb(self) -> float:
        """The memory that its processes hold, in megabytes."""
        return sum(int(_stat(pid)[21]) for pid in self._processes()) * _PAGE / 1e6

    def requests(self) -> int:
        """Requests that the API server has taken from it so far, by the server's own count."""
        counted = re.findall(
            r"^apiserver_flowcontrol_dispatched_requests_total"
            rf'\{{[^}}]*flow_schema="{self.flow_schema}"[^}}]*\}} (\S+)',
            kubectl("get", "--raw", "/metrics"),
            flags=re.MULTILINE,
        )
        return int(sum(map(float, counted)))

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


@contextlib.asynccontextmanager
async def service(cluster: Cluster, namespace: str) -> AsyncIterator[Service]:
    """Run the service of this checkout for that namespace, in which are a gateway and a spec."""
    _allow(namespace)
    await cluster.create(JUPYTER_GATEWAYS, namespace, a_gateway(namespace))
    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, a_spec())
    port = free_port()
    settings = {
        "hub": {"enabled": False},
        "namespace": namespace,
        "gateway": {"image": "elastic/none:none", "imagePullPolicy": "Never"},
        "quota": {"kernelsPerUser": 2},
        "service": {"port": port, "logLevel": "WARNING"},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".kubeconfig") as kubeconfig:
        json.dump(_kubeconfig(namespace), kubeconfig)
        kubeconfig.flush()
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": kubeconfig.name,
            "POD_NAMESPACE": namespace,
            "ELASTIC_SETTINGS": json.dumps(settings),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub_service", cwd=ROOT, env=environment
        )
        try:
            await _ready(f"http://127.0.0.1:{port}/health", process)
            yield Service(process.pid, namespace)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            with contextlib.suppress(ApiError):
                await cluster.delete(_FLOW_SCHEMAS, None, namespace)


async def _ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with client.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the service ended with status {process.returncode}")


def a_spec() -> Object:
    """The JupyterKernelSpec that all kernels are started from."""
    return {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": SPEC},
        "spec": {"language": "python", "displayName": "Python", "image": "elastic/none:none"},
    }


def a_gateway(namespace: str) -> Object:
    """A JupyterGateway that the kernels belong to; its image is nowhere, so it never runs."""
    return {
        "apiVersion": JUPYTER_GATEWAYS.api_version,
        "kind": JUPYTER_GATEWAYS.kind,
        "metadata": {"name": GATEWAY, "namespace": namespace},
        "spec": {"image": "elastic/none:none", "imagePullPolicy": "Never"},
    }


def _allow(namespace: str) -> None:
    """The service's account with the rights of helm-values/standalone.yaml; its FlowSchema."""
    text = (ROOT / "helm-values" / "standalone.yaml").read_text()
    given = [item for item in yaml.safe_load_all(text) if item]
    rules = [rule for item in given if item["kind"] == "Role" for rule in item["rules"]]
    account = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": namespace}
    metadata = {"name": _ACCOUNT, "namespace": namespace}
    rbac = {"apiGroup": "rbac.authorization.k8s.io"}
    api_version = "rbac.authorization.k8s.io/v1"
    objects: list[Object] = [
        item
        for item in given
        if item["kind"] == "ClusterRole" and item["metadata"]["name"] == "elastic-gateway"
    ]
    objects += [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": api_version,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {**rbac, "kind": "Role", "name": _ACCOUNT},
            "subjects": [account],
        },
        {
            "apiVersion": _FLOW_SCHEMAS.api_version,
            "kind": _FLOW_SCHEMAS.kind,
            "metadata": {"name": namespace},
            "spec": {
                "matchingPrecedence": 500,
                "priorityLevelConfiguration": {"name": "workload-low"},
                "rules": [
                    {
                        "subjects": [
                            {
                                "kind": "ServiceAccount",
                                "serviceAccount": {"name": _ACCOUNT, "namespace": namespace},
                            }
                        ],
                        "resourceRules": [
                            {
                                "verbs": ["*"],
                                "apiGroups": ["*"],
                                "resources": ["*"],
                                "namespaces": ["*"],
                                "clusterScope": True,
                            }
                        ],
                    }
                ],
            },
        },
    ]
    kubectl("apply", "-f", "-", manifest=yaml.safe_dump_all(objects))


def _kubeconfig(namespace: str) -> Object:
    """The way to the cluster as the service's account."""
    own = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = kubectl("-n", namespace, "create", "token", _ACCOUNT, "--duration=2h").strip()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": own["clusters"],
        "users": [{"name": "service", "user": {"token": token}}],
        "contexts": [
            {"name": "bench", "context": {"cluster": own["clusters"][0]["name"], "user": "service"}}
        ],
        "current-context": "bench",
    }
