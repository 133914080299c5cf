"""Gateways are killed, ended and replaced under a running cell; notebooks hardly notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import pytest

from demo.client import Person
from demo.install import kubectl
from demo.observe import kernels_of, until_culled, watching
from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    LABEL_COMPONENT,
    LABEL_GATEWAY,
    PODS,
    Object,
    is_deleting,
    name_of,
    status_of,
)
from hub_service.kube import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House

SECONDS = 120.0
GO = "/tmp/go"
# Runs until that file is there, which nobody can tell the kernel by a message.
CELL = f"""
import os, time
print("at it", flush=True)
while not os.path.exists("{GO}"):
    time.sleep(0.05)
y = x + 1
print(y)
"""
KILL = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read().split("\\0")
    except OSError:
        continue
    if "elastic_spawner.gateway" in words and "tini" not in words[0]:
        os.kill(int(pid), signal.SIGKILL)
"""
# Run in the notebook's container: start at one pod of the gateway, execute at the other.
AT_BOTH = """
import asyncio, json, os, sys, urllib.request, uuid
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect
first, second = sys.argv[1:]
headers = {"Authorization": "token " + os.environ["JUPYTER_GATEWAY_AUTH_TOKEN"]}
body = json.dumps({"name": "python"}).encode()
start = urllib.request.Request(f"http://{first}:8888/api/kernels", body, headers)
kernel = json.load(urllib.request.urlopen(start, timeout=60))["id"]
async def run():
    url = f"ws://{second}:8888/api/kernels/{kernel}/channels?session_id=s"
    websocket = await websocket_connect(HTTPRequest(url, headers=headers))
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s",
              "username": "", "version": "5.3", "date": ""}
    await websocket.write_message(json.dumps({
        "header": header, "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
        "content": {"code": "print(6 * 7)", "silent": False, "allow_stdin": False}}))
    printed = ""
    while True:
        message = json.loads(await websocket.read_message())
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        if message["msg_type"] == "clear_output":  # of what it waited for, until it ran
            printed = ""
        elif message["msg_type"] == "stream":
            printed += message["content"]["text"]
        elif message["content"].get("execution_state") == "idle":
            return printed
print(json.dumps([kernel, asyncio.run(asyncio.wait_for(run(), 60))]))
"""


def is_ready(pod: Object) -> bool:
    return not is_deleting(pod) and any(
        entry["type"] == "Ready" and entry["status"] == "True"
        for entry in status_of(pod).get("conditions") or []
    )


class Gateway:
    """The pods of a gateway."""

    def __init__(self, cluster: Cluster, key: tuple[str, str], pods: Reflector) -> None:
        self.namespace, self.name = key
        self._cluster, self._pods = cluster, pods

    async def patch(self, spec: Object) -> None:
        await self._cluster.merge_patch(JUPYTER_GATEWAYS, self.namespace, self.name, {"spec": spec})

    async def until(self, predicate: Callable[[list[Object]], bool]) -> list[Object]:
        changed = asyncio.Event()
        with self._pods.subscribed(lambda *_: changed.set()):
            async with asyncio.timeout(SECONDS):
                while not predicate(list(self._pods.store)):
                    await changed.wait()
                    changed.clear()
        return sorted(self._pods.store, key=name_of)


@pytest.fixture
async def gateway(cluster: Cluster, adas_gateway: tuple[str, str]) -> AsyncIterator[Gateway]:
    namespace, name = adas_gateway
    selector = f"{LABEL_GATEWAY}={name},{LABEL_COMPONENT}=gateway"
    async with watching(cluster, PODS, namespace, label_selector=selector) as pods:
        yield Gateway(cluster, adas_gateway, pods)


def connected_at(pods: set[str]) -> Callable[[Object | None], bool]:
    """Whether a kernel's client is connected by one of these."""

    def is_so(kernel: Object | None) -> bool:
        activity = status_of(kernel or {}).get("activity") or {}
        by_pod = activity.get("connectionsByPod") or {}
        return bool(by_pod) and set(by_pod) <= pods and activity["executionState"] == "busy"

    return is_so


async def go(namespace: str, kernel: str) -> None:
    """Let the cell end."""
    pod = f"kernel-{kernel}"
    await asyncio.to_thread(
        kubectl, "-n", namespace, "exec", pod, "-c", "kernel", "--", "touch", GO
    )


@contextlib.asynccontextmanager
async def asking_all_the_time(person: Person, kernel: str) -> AsyncIterator[list[int]]:
    """Requests to the notebook server that it passes on to the gateway; none may fail."""
    answered: list[int] = []

    async def ask() -> None:
        while True:
            assert kernel in {model["id"] for model in await person.kernels()}
            answered.append(len(await person.kernelspecs()))

    task = asyncio.create_task(ask())
    yield answered
    if task.done():
        await task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_rolling_update_during_a_running_cell(
    house: House, kernels: Reflector, namespace: str, gateway: Gateway
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python")
    before = {name_of(pod) for pod in await gateway.until(lambda pods: any(map(is_ready, pods)))}
    async with person.connect(kernel) as connection:
        assert (await connection.execute("x = 41")).status == "ok"
        cell = await connection.submit(CELL)
        async with asking_all_the_time(person, kernel) as answered:
            await gateway.patch({"resources": {"requests": {"cpu": "11m"}}})
            pods = await gateway.until(
                lambda pods: any(map(is_ready, pods)) and not before & {*map(name_of, pods)}
            )
            names = {name_of(pod) for pod in pods}
            await kernels.wait_for((namespace, f"kernel-{kernel}"), connected_at(names), SECONDS)
            await go(namespace, kernel)
            result = await connection.result(cell, timeout=SECONDS)
        assert len(answered) > 1
        assert (result.status, result.text) == ("ok", "at it\n42\n")
        assert (await connection.execute("print(x, y)")).text == "41 42\n"
    await gateway.patch({"resources": {"requests": {"cpu": None}}})


async def test_a_gateway_that_is_killed_while_a_cell_ends(
    house: House, kernels: Reflector, namespace: str, gateway: Gateway
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python")
    async with person.connect(kernel) as connection:
        assert (await connection.execute("x = 41")).status == "ok"
        cell = await connection.submit(CELL)
        (pod,) = await gateway.until(lambda pods: len(pods) == 1 and is_ready(pods[0]))
        await kernels.wait_for(
            (namespace, f"kernel-{kernel}"), connected_at({name_of(pod)}), SECONDS
        )
        command = ("exec", name_of(pod), "--", "python", "-c", KILL)
        with contextlib.suppress(Exception):  # the connection ends with what it has killed
            await asyncio.to_thread(kubectl, "-n", gateway.namespace, *command)
        await go(namespace, kernel)
        result = await connection.result(cell, timeout=SECONDS)
        assert result.status == "error"
        assert "what it printed and returned meanwhile is lost" in result.text
        assert (await connection.execute("print(x, y)")).text == "41 42\n"
    await person.shut_down(kernel)


async def test_two_pods_serve_the_same_kernels_and_agree_on_a_cull(
    house: House, cluster: Cluster, kernels: Reflector, namespace: str, gateway: Gateway
) -> None:
    person = await house.open("ada")
    await gateway.patch({"replicas": 2})
    try:
        pods = await gateway.until(lambda pods: len(pods) == 2 and all(map(is_ready, pods)))
        addresses = [status_of(pod)["podIP"] for pod in pods]
        notebook = ("-n", namespace, "exec", f"jupyter-{person.name}", "-c", "notebook", "--")
        script = ("python3", "-c", AT_BOTH)
        printed = await asyncio.to_thread(kubectl, *notebook, *script, *addresses)
        kernel, text = json.loads(printed)
        assert text == "42\n"
        await until_culled(cluster, namespace, f"kernel-{kernel}", kernels, seconds=3)
        await kernels.wait_for((namespace, f"kernel-{kernel}"), lambda k: k is None, SECONDS)
        assert await kernels_of(cluster, namespace, "ada") == []
    finally:
        await gateway.patch({"replicas": 1})
