"""Restarts keep the GPU; kernels that die say why: through a real notebook server."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

import pytest

from demo.client import Person
from demo.connection import Connection
from demo.install import Images, kubectl
from demo.observe import gpu_pod, gpus_of_the_cluster, is_running, is_unschedulable, watching
from hub_service.kinds import PODS, Object, condition, status_of, uid_of
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from hub_service.pods.podsecurity import hardened
from tests.e2e.support import House, gpus_become

SECONDS = 60.0
DEVICE = "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'], 'x' in globals()); x = 1"


async def until(connection: Connection, words: str) -> str:
    """All that is written until a message has these words."""
    told = ""
    async with asyncio.timeout(SECONDS):
        while True:
            message = await connection.receive(timeout=SECONDS)
            if message["msg_type"] == "stream":
                told += message["content"]["text"]
            if words in json.dumps(message["content"]):
                return told


async def test_five_restarts_keep_pod_and_gpu_while_others_wait_for_it(
    house: House, cluster: Cluster, namespace: str, images: Images
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python-gpu")
    others = await gpus_of_the_cluster(cluster) - 1
    image = images.name("kernel")
    took = []
    async with (
        person.connect(kernel) as connection,
        watching(cluster, PODS, namespace) as pods,
        gpu_pod(cluster, namespace, "other", image, others),
        gpu_pod(cluster, namespace, "waiting", image, 1),
    ):
        await pods.wait_for((namespace, "other"), is_running, SECONDS)
        await pods.wait_for((namespace, "waiting"), is_unschedulable, SECONDS)
        first = (await connection.execute(DEVICE)).text.split()
        assert first[0].startswith("GPU-")
        uid = uid_of(await cluster.get(PODS, namespace, f"kernel-{kernel}"))

        for _ in range(5):
            began = time.monotonic()
            await person.restart(kernel)
            took.append(time.monotonic() - began)
            assert (await connection.execute(DEVICE)).text.split() == [first[0], "False"]
            assert uid_of(await cluster.get(PODS, namespace, f"kernel-{kernel}")) == uid

        # One that works, and would go on for long.
        await connection.submit("import time; print('on it'); time.sleep(600)")
        await until(connection, "on it")
        began = time.monotonic()
        await person.restart(kernel)
        busy = time.monotonic() - began
        assert (await connection.execute(DEVICE)).text.split() == [first[0], "False"]
        assert uid_of(await cluster.get(PODS, namespace, f"kernel-{kernel}")) == uid
        assert is_unschedulable(await cluster.get(PODS, namespace, "waiting"))
    median = statistics.median(took)
    print("restarts:", *(f"{t:.2f}" for t in took), f"s, median {median:.2f} s; busy {busy:.2f} s")


Strike = Callable[[Person, str, Connection], Awaitable[object]]


def cell(code: str) -> Strike:
    return lambda _person, _pod, connection: connection.submit(code)


def busy_then(strike: Callable[[str, str], None]) -> Strike:
    """Something that happens to a kernel's pod while a cell runs."""

    async def run(person: Person, pod: str, connection: Connection) -> None:
        await connection.submit("import time; print('on it'); time.sleep(600)")
        await until(connection, "on it")
        namespace, name = pod.split("/")
        await asyncio.to_thread(strike, namespace, name)

    return run


def evict(namespace: str, pod: str) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", manifest=json.dumps(body))


def delete_pod(namespace: str, pod: str) -> None:
    kubectl("-n", namespace, "delete", "pod", pod, "--wait=false")


async def ended(kernels: Reflector, key: tuple[str, str], kind: str) -> Object:
    """The condition with which a kernel ends."""

    def has_ended(kernel: Object | None) -> bool:
        return kernel is not None and condition(kernel, kind) is not None

    kernel = await kernels.wait_for(key, has_ended, SECONDS)
    return condition(kernel or {}, kind) or {}


LOST = "The running cell did not finish, and the kernel's variables are lost."
# How a kernel dies → condition, reason, and words of what its user reads.
DEATHS = {
    "memory": (cell("x = b'x' * (4 << 30)"), "Failed", "OOMKilled", "its limit of 1Gi"),
    "exit code": (cell("import os; os._exit(3)"), "Failed", "ContainerExited", "exit code 3"),
    "killed": (
        cell("import os; os.kill(os.getpid(), 9)"), "Failed", "ContainerExited", "SIGKILL",
    ),
    "exit()": (cell("exit()"), "Succeeded", "Completed", "as after exit()"),
    "evicted": (busy_then(evict), "Failed", "Evicted", "a node is drained for maintenance"),
    "deleted": (busy_then(delete_pod), "Failed", "PodDeleted", "deleted by an administrator"),
}  # fmt: skip


@pytest.mark.long
async def test_a_kernel_that_dies_says_why_once_and_what_was_lost(
    house: House, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    for name, (strike, kind, reason, words) in DEATHS.items():
        kernel = await person.start_kernel("python")
        key = (namespace, f"kernel-{kernel}")
        async with person.connect(kernel) as connection:
            await connection.execute("x = 1")
            began = time.monotonic()
            await strike(person, "/".join(key), connection)
            told = await until(connection, "dead")
            print(f"{name}: {time.monotonic() - began:.1f} s: {told.strip()}")
            entry = await ended(kernels, key, kind)
            assert (entry["status"], entry["reason"]) == ("True", reason), entry
            assert words in entry["message"]
            assert told.count(words) == 1, told
            assert "variables are lost" in told
            assert LOST in told or name == "exit()", told
        await person.shut_down(kernel)


@pytest.mark.long
async def test_a_kernel_that_is_preempted_says_so(
    house: House, cluster: Cluster, namespace: str, everywhere: str | None, kernels: Reflector
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python-gpu")
    key = (namespace, f"kernel-{kernel}")
    everything = await gpus_of_the_cluster(cluster)
    image = status_of(await cluster.get(PODS, *key))["containerStatuses"][0]["image"]
    urgent: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "urgent", "namespace": namespace},
        "spec": hardened(
            {
                "priorityClassName": "system-cluster-critical",
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "main",
                        "image": image,
                        "command": ["sleep", "3600"],
                        "resources": {"limits": {"nvidia.com/gpu": everything}},
                    }
                ],
            }
        ),
    }
    async with person.connect(kernel) as connection:
        await connection.execute("x = 1")
        await cluster.create(PODS, namespace, urgent)
        try:
            told = await until(connection, "dead")
            entry = await ended(kernels, key, "Failed")
        finally:
            await cluster.delete(PODS, namespace, "urgent", grace_period=0)
    assert entry["reason"] == "Preempted", entry
    assert "room for one of higher priority" in told
    await person.shut_down(kernel)
    await gpus_become(0, cluster, everywhere)


@pytest.mark.long
async def test_a_process_that_is_stopped_is_started_again_by_the_service(
    house: House, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python")
    key = (namespace, f"kernel-{kernel}")
    async with person.connect(kernel) as connection:
        await connection.execute("x = 1")
        stop = (
            "for p in /proc/[0-9]*; do read -r _ _ _ parent _ <$p/stat; "
            "[ $parent = 1 ] && kill -STOP ${p#/proc/}; done"
        )
        began = time.monotonic()
        await asyncio.to_thread(kubectl, "-n", namespace, "exec", key[1], "--", "sh", "-c", stop)
        async with asyncio.timeout(150):
            told = ""
            while "was restarted" not in told:
                message = await connection.receive(timeout=150)
                told += (
                    message["content"].get("text", "") if message["msg_type"] == "stream" else ""
                )
        print(f"stopped: restarted after {time.monotonic() - began:.0f} s: {told.strip()}")
        assert "The kernel's variables are lost. The kernel can be used again." in told
        assert (await connection.execute("print('x' in globals())")).text == "False\n"
    item = kernels.store.get(key)
    assert item is not None
    assert status_of(item)["restart"]["cause"] == "HeartbeatLost"
    await person.shut_down(kernel)
