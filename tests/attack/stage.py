"""The people and pods of the attacks: mallory, who attacks, and ada, who must notice nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from demo.client import Person
from demo.install import Images, Installation, kubectl
from hub_service.gateways.gateway import url as gateway_url
from hub_service.kernelspecs.kernelspec import CURVE
from hub_service.kinds import (
    JUPYTER_KERNEL_SPECS,
    LABEL_COMPONENT,
    PODS,
    SECRETS,
    Object,
    name_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster
from hub_service.names import kernel_name
from tests.attack.places import Place, in_pod

SPEC = "attacked"
ENCRYPTED = "attacked-encrypted"
_ACCEPTS = 60.0


@dataclass
class Stage:
    """What cases use.

    notebook, kernel: mallory's own pods; gateway: the gateway's, as if it had been broken into.
    own, victim: ids of mallory's and of ada's kernel.
    """

    installation: Installation
    images: Images
    cluster: Cluster
    mallory: Person
    ada: Person
    notebook: Place
    kernel: Place
    gateway: Place
    own: str
    victim: str
    url: str
    token: str
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Of notebooks, gateways and kernels."""
        return self.installation.namespace

    def filled(self, value: Any) -> Any:
        """A request's part with ids in the place of their names."""
        if isinstance(value, str):
            for name in ("own", "victim"):
                value = value.replace(f"<{name}>", getattr(self, name))
            return value
        if isinstance(value, dict):
            return {self.filled(key): self.filled(entry) for key, entry in value.items()}
        return value

    def notebook_of(self, user: str, server: str = "") -> tuple[str, str, str]:
        """Namespace, pod and container of a user's server."""
        return _notebook_of(self.namespace, user, server)

    async def resource(self, kernel: str) -> Object:
        """A kernel's JupyterKernel."""
        found = await asyncio.to_thread(
            kubectl, "-n", self.namespace, "get", "jk", kernel_name(kernel), "-o", "json"
        )
        item: Object = json.loads(found)
        return item

    async def signing_key(self, kernel: str) -> str:
        """A kernel's key, as its own pod and the gateway know it."""
        secret = await self.cluster.get(SECRETS, self.namespace, kernel_name(kernel))
        key: str = json.loads(base64.b64decode(secret["data"]["connection.json"]))["key"]
        return key

    async def hub(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, str]:
        """A request to the hub's API from outside, with a token."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                f"{self.installation.url}/hub/api{path}",
                headers={"Authorization": f"token {token}"},
                json=body,
            ) as response,
        ):
            return response.status, await response.text()


@asynccontextmanager
async def a_stage(
    installation: Installation, images: Images, cluster: Cluster, mallory: Person, ada: Person
) -> AsyncIterator[Stage]:
    """Both with a running server and a kernel, and mallory in her pods."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_a_spec(installation.namespace, images, cluster, mallory))
        victim = await ada.start_kernel("python")
        own = await mallory.start_kernel(SPEC)
        namespace = installation.namespace
        notebook = await stack.enter_async_context(in_pod(*_notebook_of(namespace, mallory.name)))
        kernel = await stack.enter_async_context(in_pod(namespace, kernel_name(own), "kernel"))
        pods = _pods(namespace, f"{LABEL_COMPONENT}=gateway")
        gateway = await stack.enter_async_context(in_pod(namespace, name_of(pods[0]), "gateway"))
        variables = await notebook.run("environment")
        addresses = {
            name: status_of(await cluster.get(PODS, namespace, kernel_name(one)))["podIP"]
            for name, one in (("own", own), ("victim", victim))
        }
        yield Stage(
            installation=installation,
            images=images,
            cluster=cluster,
            mallory=mallory,
            ada=ada,
            notebook=notebook,
            kernel=kernel,
            gateway=gateway,
            own=own,
            victim=victim,
            url=gateway_url("elastic-gateway", namespace),
            token=variables["JUPYTERHUB_API_TOKEN"],
            addresses=addresses,
        )


@asynccontextmanager
async def _a_spec(
    namespace: str, images: Images, cluster: Cluster, person: Person
) -> AsyncIterator[None]:
    """A kernel spec with things to choose, offered to that person by now."""
    body: Object = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": SPEC},
        "spec": {
            "language": "python",
            "displayName": "Attacked",
            "image": images.name("kernel"),
            "env": [{"name": "KERNEL_COLOUR", "value": "red"}],
            "parameters": [
                {"name": "course", "variable": "KERNEL_COURSE", "text": {"pattern": "[a-z]{1,9}"}},
                {
                    "name": "packages",
                    "variable": "KERNEL_PACKAGES",
                    "packages": {"allowed": ["example-*"]},
                },
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
        },
    }
    encrypted = {**body, "metadata": {"name": ENCRYPTED}}
    encrypted["spec"] = {**body["spec"], "displayName": "Encrypted", "encryption": CURVE}
    for name, spec in ((SPEC, body), (ENCRYPTED, encrypted)):
        with contextlib.suppress(ApiError):
            await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, name)
        await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec)
    try:
        async with asyncio.timeout(_ACCEPTS):
            while ENCRYPTED not in (await person.kernelspecs())["kernelspecs"]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        yield
    finally:
        for name in (SPEC, ENCRYPTED):
            await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, name)


def _pods(namespace: str, selector: str) -> list[Object]:
    found = kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "json")
    items: list[Object] = json.loads(found)["items"]
    return items


def _notebook_of(namespace: str, user: str, server: str = "") -> tuple[str, str, str]:
    """Namespace, pod and container of a server."""
    selector = f"component=singleuser-server,hub.jupyter.org/username={user}"
    selector += f",hub.jupyter.org/servername={server}"
    return namespace, name_of(_pods(namespace, selector)[0]), "notebook"
