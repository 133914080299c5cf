"""What the end-to-end tests share: people at the hub, and looks into the cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from demo.client import Person
from demo.install import HUB_NAMESPACE, Installation, kubectl
from demo.observe import gpus_held, watching
from hub_service.kinds import PODS, Object
from hub_service.kube.client import Cluster

OneKernel = Callable[[str], Awaitable[Object]]


@dataclass
class House:
    """Lets people in, and sees to it that nothing of them is left."""

    installation: Installation
    stack: AsyncExitStack

    async def enter(self, name: str) -> Person:
        """Somebody at the door: not logged in yet."""
        person = Person(self.installation.url, name, self.installation.password)
        return await self.stack.enter_async_context(person)

    async def open(self, name: str) -> Person:
        """Somebody with a running notebook server."""
        person = await self.enter(name)
        await person.login()
        self.stack.push_async_callback(person.stop_server)
        await person.start_server()
        return person


def everybody_leaves(installation: Installation) -> None:
    """Delete all users of the hub, their servers and volumes."""

    async def delete_users() -> None:
        async with Person(installation.url, "admin", installation.password) as admin:
            await admin.login()
            await admin.delete_others()

    asyncio.run(delete_users())


async def gpus_become(
    count: int, cluster: Cluster, namespace: str | None, seconds: float = 60
) -> None:
    """Wait until the users' pods hold that many GPUs. Raises TimeoutError."""
    async with watching(cluster, PODS, namespace) as pods:
        changed = asyncio.Event()
        pods.subscribe(lambda *_: changed.set())
        async with asyncio.timeout(seconds):
            while gpus_held(pods.store) != count:
                await changed.wait()
                changed.clear()


def hub_pod() -> str:
    """The name of the hub's pod."""
    pods = json.loads(
        kubectl("-n", HUB_NAMESPACE, "get", "pods", "-l", "component=hub", "-o", "json")
    )
    names: list[str] = [pod["metadata"]["name"] for pod in pods["items"]]
    return names[0]


def in_hub(*command: str) -> str:
    """Run a command in the hub's container; returns what it printed."""
    return kubectl("-n", HUB_NAMESPACE, "exec", hub_pod(), "-c", "hub", "--", *command)
