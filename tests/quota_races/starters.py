"""Who starts and ends kernels in a race: users by two gateways, or two creators of resources."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    JUPYTER_KERNELS,
    Object,
    name_of,
    spec_of,
)
from hub_service.kube import ApiError, Cluster
from tests.real_hub import RealHub, free_port

ROOT = Path(__file__).parents[2]
GATEWAY_PYTHON = ROOT / ".venv-gateway" / "bin" / "python"
GATEWAY = "racing"
SPEC = "python"
# Pods for which there is no node, in a cluster that might get one: they wait and cost nothing.
POD = {
    "nodeSelector": {"elastic.test/nowhere": "true"},
    "containers": [{"name": "kernel", "image": "elastic/none:none", "imagePullPolicy": "Never"}],
}
_SECONDS = 120.0


class Starter(Protocol):
    """Starts and ends kernels for users."""

    async def start(self, user: str) -> str | None:
        """Ask for a kernel; the id of one that was made and not refused at once."""

    async def end(self, kernel: Object) -> None:
        """End a kernel for its user. One that is gone already is fine."""


class Creators:
    """Writes JupyterKernels with two connections, as two gateways would."""

    def __init__(self, clusters: Sequence[Cluster], namespace: str) -> None:
        self._clusters = itertools.cycle(clusters)
        self._namespace = namespace

    async def start(self, user: str) -> str:
        """As Starter."""
        kernel_id = str(uuid.uuid4())
        body = {
            "apiVersion": JUPYTER_KERNELS.api_version,
            "kind": JUPYTER_KERNELS.kind,
            "metadata": {"name": f"kernel-{kernel_id}"},
            "spec": {"owner": user, "kernelID": kernel_id, "template": {"spec": POD}},
        }
        await next(self._clusters).create(JUPYTER_KERNELS, self._namespace, body)
        return kernel_id

    async def end(self, kernel: Object) -> None:
        """As Starter."""
        try:
            await next(self._clusters).delete(JUPYTER_KERNELS, self._namespace, name_of(kernel))
        except ApiError as error:
            if error.status != 404:
                raise


class Gateways:
    """Two processes that serve one JupyterGateway, and users with tokens of their own."""

    def __init__(self, hub: RealHub, urls: Sequence[str], session: aiohttp.ClientSession) -> None:
        self._hub = hub
        self._urls = itertools.cycle(urls)
        self._session = session
        self._tokens: dict[str, str] = {}

    async def start(self, user: str) -> str | None:
        """As Starter. Where the hub was too busy to say who is asking, it is asked again."""
        headers = self._as(user)
        async with asyncio.timeout(_SECONDS):
            while True:
                url = f"{next(self._urls)}/api/kernels"
                async with self._session.post(url, json={"name": SPEC}, headers=headers) as answer:
                    said: Any = await answer.json()
                if answer.status == 403 and "quota reached" in said["message"]:
                    return None
                if answer.status == 201:
                    return str(said["id"])
                if said.get("reason") == "KernelDeleted":
                    return None  # it was ended by the other gateway before this one answered
                assert said.get("reason") == "HubUnreachable", (answer.status, said)
                await asyncio.sleep(1.0)

    async def end(self, kernel: Object) -> None:
        """As Starter. What one gateway doesn't know of yet, the other one does."""
        spec = spec_of(kernel)
        unknown = 0
        while unknown < 2:
            url = f"{next(self._urls)}/api/kernels/{spec['kernelID']}"
            async with self._session.delete(url, headers=self._as(spec["owner"])) as answer:
                if answer.status == 204:
                    return
                assert answer.status in (404, 503), (answer.status, await answer.text())
                unknown += answer.status == 404
            await asyncio.sleep(0 if answer.status == 404 else 1.0)

    def _as(self, user: str) -> dict[str, str]:
        if user not in self._tokens:
            self._tokens[user] = self._hub.token(user)
        return {"Authorization": f"token {self._tokens[user]}"}


@asynccontextmanager
async def gateways(
    cluster: Cluster, namespace: str, hub: RealHub, folder: Path
) -> AsyncIterator[Gateways]:
    """Run two processes of the gateway until the block ends."""
    for resource, name, spec in (
        (JUPYTER_KERNEL_TEMPLATES, SPEC, {"template": {"spec": POD}}),
        (
            JUPYTER_KERNEL_SPECS,
            SPEC,
            {"language": "python", "template": {"name": SPEC}, "image": "elastic/none:none"},
        ),
        # Nobody connects to these kernels, which is no reason to end them.
        (JUPYTER_GATEWAYS, GATEWAY, {"startAnswerAfter": 1, "startGrace": 3600}),
    ):
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        await cluster.create(resource, namespace, body)
    ports = [free_port(), free_port()]
    with (folder / "gateways.log").open("a") as log:
        processes = [
            await asyncio.create_subprocess_exec(
                str(GATEWAY_PYTHON),
                "-m",
                "elastic_spawner.gateway",
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "KUBECONFIG": os.environ["KUBECONFIG"],
                    "JUPYTERHUB_API_URL": hub.api_url,
                    "ELASTIC_NAMESPACE": namespace,
                    "ELASTIC_GATEWAY_NAME": GATEWAY,
                    "ELASTIC_PORT": str(port),
                    "ELASTIC_LEAVE_AFTER": "0",
                },
            )
            for port in ports
        ]
        try:
            timeout = aiohttp.ClientTimeout(total=_SECONDS)
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                urls = [f"http://127.0.0.1:{port}" for port in ports]
                for url, process in zip(urls, processes, strict=True):
                    await _ready(session, url, process)
                yield Gateways(hub, urls, session)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()


async def _ready(
    session: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process
) -> None:
    async with asyncio.timeout(_SECONDS):
        while process.returncode is None:
            try:
                async with session.get(f"{url}/api/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError(f"the gateway ended with {process.returncode}")
