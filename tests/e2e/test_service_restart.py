"""kill -9 of the hub's service at each step of a start: the start completes, with one pod."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from demo.client import Person
from demo.observe import NODES, kernels_of, watching
from hub_service.kinds import (
    ADMITTED,
    COMPONENT_KERNEL,
    LABEL_COMPONENT,
    PODS,
    RUNNING,
    Object,
    Resource,
    is_true,
    name_of,
)
from hub_service.kube import ApiError, Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, in_hub

SECONDS = 60.0
WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
)

# Run in the hub's container: signals the service's worker (not the parent that restarts it), and
# prints its process id.
SIGNAL_WORKER = """
import os, signal, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read().split("\\0")
    except OSError:
        continue
    if "hub_service.app" in words:
        os.kill(int(pid), getattr(signal, sys.argv[1]))
        print(pid)
"""


async def signal_worker(name: str) -> str:
    """Send a signal to the worker; returns its process id."""
    pid = (await asyncio.to_thread(in_hub, "python3", "-c", SIGNAL_WORKER, name)).strip()
    assert pid.isdigit(), f"one worker expected: {pid!r}"
    return pid


@contextlib.asynccontextmanager
async def failing_pod_requests(cluster: Cluster) -> AsyncIterator[None]:
    """In the block, the API server answers 500 to who creates a kernel's pod."""
    nobody_listens = "https://127.0.0.1:9/"
    webhook = {
        "name": "unreachable.example.org",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "clientConfig": {"url": nobody_listens},
        "objectSelector": {"matchLabels": {LABEL_COMPONENT: COMPONENT_KERNEL}},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
                "operations": ["CREATE"],
            }
        ],
    }
    body = {
        "apiVersion": WEBHOOKS.api_version,
        "kind": WEBHOOKS.kind,
        "metadata": {"name": "failing-pods"},
        "webhooks": [webhook],
    }
    await cluster.create(WEBHOOKS, None, body)
    try:
        await _until_pods_fail(cluster)
        yield
    finally:
        await cluster.delete(WEBHOOKS, None, "failing-pods")


async def _until_pods_fail(cluster: Cluster) -> None:
    """The API server takes a moment to know of a new webhook."""
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "probe-", "labels": {LABEL_COMPONENT: COMPONENT_KERNEL}},
        "spec": {"containers": [{"name": "probe", "image": "none"}], "nodeName": "nowhere"},
    }
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                pod = await cluster.create(PODS, "default", probe)
            except ApiError as error:
                if error.status != 500:
                    raise
                return
            await cluster.delete(PODS, "default", name_of(pod), grace_period=0)


@contextlib.asynccontextmanager
async def cordoned(cluster: Cluster) -> AsyncIterator[None]:
    """In the block, pods can be made but find no node."""
    nodes = [name_of(node) for node in (await cluster.list(NODES, None))["items"]]
    for node in nodes:
        await cluster.merge_patch(NODES, None, node, {"spec": {"unschedulable": True}})
    try:
        yield
    finally:
        for node in nodes:
            await cluster.merge_patch(NODES, None, node, {"spec": {"unschedulable": None}})


class Seen:
    """Every pod that ever was, for one test."""

    def __init__(self, pods: Reflector) -> None:
        self.names: set[str] = set()
        pods.subscribe(self._note)

    def _note(self, _key: object, _old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.names.add(name_of(new))


async def the_kernel(kernels: Reflector, owner: str) -> Object:
    """The owner's JupyterKernel, as soon as there is one."""
    changed = asyncio.Event()
    kernels.subscribe(lambda *_: changed.set())
    async with asyncio.timeout(SECONDS):
        while True:
            for item in kernels.store:
                if item["spec"]["owner"] == owner:
                    return item
            await changed.wait()
            changed.clear()


async def finish(person: Person, start: asyncio.Task[str], seen: Seen) -> None:
    """The start completes, its kernel works, and no second pod was made on the way."""
    kernel = await start
    assert (await person.run(kernel, "print(6 * 7)")).text == "42\n"
    assert seen.names == {f"kernel-{kernel}"}


async def test_killed_before_admission(
    house: House, cluster: Cluster, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    async with kernel_pods(cluster, namespace) as pods:
        seen = Seen(pods)
        stopped = await signal_worker("SIGSTOP")
        start = asyncio.create_task(person.start_kernel("python-gpu"))
        kernel = await the_kernel(kernels, "ada")
        assert not is_true(kernel, ADMITTED)
        killed = await signal_worker("SIGKILL")
        assert killed == stopped
        await finish(person, start, seen)


async def test_killed_before_the_pod(
    house: House, cluster: Cluster, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    async with kernel_pods(cluster, namespace) as pods:
        seen = Seen(pods)
        async with failing_pod_requests(cluster):
            start = asyncio.create_task(person.start_kernel("python-gpu"))
            kernel = await the_kernel(kernels, "ada")
            await kernels.wait_for(
                (namespace, name_of(kernel)), lambda k: bool(k and is_true(k, ADMITTED)), SECONDS
            )
            await signal_worker("SIGKILL")
            assert seen.names == set()
        await finish(person, start, seen)


async def test_killed_before_running(
    house: House, cluster: Cluster, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    async with kernel_pods(cluster, namespace) as pods:
        seen = Seen(pods)
        async with cordoned(cluster):
            start = asyncio.create_task(person.start_kernel("python-gpu"))
            kernel = await the_kernel(kernels, "ada")
            await pods.wait_for((namespace, name_of(kernel)), lambda pod: pod is not None, SECONDS)
            await signal_worker("SIGKILL")
            assert not is_true(kernels.store.get((namespace, name_of(kernel))) or {}, RUNNING)
        await finish(person, start, seen)


@contextlib.asynccontextmanager
async def kernel_pods(cluster: Cluster, namespace: str) -> AsyncIterator[Reflector]:
    async with watching(
        cluster, PODS, namespace, label_selector="app.kubernetes.io/component=kernel"
    ) as pods:
        yield pods


@pytest.fixture(autouse=True)
async def nobody_else(cluster: Cluster, namespace: str) -> None:
    assert await kernels_of(cluster, namespace, "ada") == []
