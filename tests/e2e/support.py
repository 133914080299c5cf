"""What the end-to-end tests share: people at the hub, and looks into the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from demo.client import Person, RequestFailedError
from demo.install import HUB_NAMESPACE, ROOT, Images, Installation, kubectl
from demo.observe import gpus_held, watching
from hub_service.kinds import (
    COMPONENT_KERNEL,
    LABEL_COMPONENT,
    LABEL_OWNER,
    PODS,
    Object,
)
from hub_service.kube.client import Cluster
from hub_service.names import safe_label

COURSE = ROOT / "examples" / "course"

OneKernel = Callable[[str], Awaitable[Object]]


@dataclass
class House:
    """Lets people in, and sees to it that no kernel of theirs is left.

    Default servers go on for the tests that follow, as a start and a stop take as long as most
    tests. A test that is about a start begins with `start_anew`.
    """

    installation: Installation
    stack: AsyncExitStack

    async def enter(self, name: str) -> Person:
        """Somebody at the door: not logged in yet."""
        person = Person(self.installation.url, name, self.installation.password)
        return await self.stack.enter_async_context(person)

    async def open(self, name: str) -> Person:
        """Somebody with a running notebook server, and no kernels."""
        person = await self._logged_in(name)
        if await person.has_server():
            await person.sign_in_to_server()
        else:
            await person.start_server()
        return person

    async def start_anew(self, name: str) -> tuple[Person, list[str]]:
        """Somebody whose notebook server was just started, and the start's log."""
        person = await self._logged_in(name)
        await person.stop_server()
        return person, await person.start_server()

    async def _logged_in(self, name: str) -> Person:
        person = await self.enter(name)
        await person.login()
        self.stack.push_async_callback(end_kernels, person)
        return person


async def end_kernels(person: Person) -> None:
    """Shut down what the default server has, and wait until nothing of it is in the cluster."""
    if await person.has_server():
        for model in await person.kernels():
            with contextlib.suppress(RequestFailedError):  # it ended meanwhile
                await person.shut_down(model["id"])
    labels = f"{LABEL_OWNER}={safe_label(person.name)},{LABEL_COMPONENT}={COMPONENT_KERNEL}"
    for kind in ("jupyterkernels", "pods"):
        await asyncio.to_thread(kubectl, "delete", kind, "-A", "-l", labels, "--timeout=60s")


def everybody_leaves(installation: Installation) -> None:
    """Delete all users of the hub, their servers and volumes."""

    async def delete_users() -> None:
        async with Person(installation.url, "admin", installation.password) as admin:
            await admin.login()
            await admin.delete_others()

    asyncio.run(delete_users())


def give_out_class_data(images: Images, namespace: str) -> None:
    """Make the volume of examples/course, and put the measurements there, as a teacher would."""
    kubectl("-n", namespace, "apply", "-f", str(COURSE / "volume.yaml"))
    data = {"name": "data", "persistentVolumeClaim": {"claimName": "class-data"}}
    writer = {
        "name": "writer",
        "image": images.name("kernel"),
        "imagePullPolicy": images.pull_policy,
        "command": ["sh", "-c", 'printf %s "$TEXT" > /data/measurements.csv'],
        "env": [{"name": "TEXT", "value": (COURSE / "measurements.csv").read_text()}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "class-data", "namespace": namespace},
        "spec": {"restartPolicy": "Never", "containers": [writer], "volumes": [data]},
    }
    kubectl("apply", "-f", "-", manifest=json.dumps(pod))
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl("-n", namespace, "wait", succeeded, "--timeout=60s", "pod/class-data")
    kubectl("-n", namespace, "delete", "pod", "class-data")


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


async def until_listed(person: Person, wanted: Callable[[dict[str, Any]], bool]) -> float:
    """Ask the notebook server, as JupyterLab does, until the list is as wanted; seconds it took."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        while not wanted((await person.kernelspecs())["kernelspecs"]):
            pass
    return time.monotonic() - started


class Told(NamedTuple):
    """What somebody reads, where, and after how many seconds."""

    where: str
    text: str
    seconds: float


async def attempt(person: Person, spec: str) -> Told:
    """Start a kernel and run a cell in it; what its user reads of why that fails."""
    began = time.monotonic()
    try:
        started = await person.start_kernel(spec, wait=False)
    except RequestFailedError as error:
        return Told(f"HTTP {error.status}", error.message, time.monotonic() - began)
    cell = await person.run(started, "1")
    return Told("first cell", cell.text, time.monotonic() - began)
