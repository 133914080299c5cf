"""Pods that wait for kernels of a spec, on a real cluster."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from demo.install import Images
from hub_service import timestamps
from hub_service.kernels import kernel as kernels
from hub_service.kernelspecs.kernelspec import kernel_template
from hub_service.kinds import (
    CONNECTION_FILE,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNELS,
    NODES,
    PODS,
    SECRETS,
    Object,
    Phase,
    name_of,
    spec_of,
    status_of,
    uid_of,
)
from hub_service.kube import Cluster, Reflector
from hub_service.warm import pods as warm
from tests.integration.support import DEADLINE, Observed, an_object, reflecting, until

NAME = "python"
PORTS = {
    f"{channel}_port": 52317 + index
    for index, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"))
}
# Asks the kernel as a gateway would, from beside it.
ASK = f"""
import sys
from jupyter_client import BlockingKernelClient
client = BlockingKernelClient(connection_file={CONNECTION_FILE!r})
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=30)
client.execute_interactive(sys.argv[1], timeout=30)
"""


@dataclass
class Pool:
    """A spec with warm pods, and kernels of it."""

    cluster: Cluster
    images: Images
    observed: Observed
    specs: Reflector

    async def make(self, **fields: Any) -> Object:
        spec = {
            "language": "python",
            "image": self.images.name("kernel"),
            "home": False,
            "warm": {"pods": 1, "imports": ["colorsys"]},
            **fields,
        }
        body = an_object(JUPYTER_KERNEL_SPECS, NAME, spec)
        return await self.cluster.create(JUPYTER_KERNEL_SPECS, self.observed.namespace, body)

    async def says(self, words: str) -> Object:
        """The spec, once its status says that of its warm pods."""
        found = await self.specs.wait_for(
            (self.observed.namespace, NAME),
            lambda item: words in (status_of(item or {}).get("warm") or {}).get("message", ""),
            DEADLINE,
        )
        assert found is not None
        return found

    def waiting(self) -> list[Object]:
        return [pod for pod in self.observed.pods.store if warm.is_waiting(pod)]

    async def start(self, spec: Object, *, env: dict[str, str] | None = None) -> Object:
        """A kernel, as a gateway makes one."""
        kernel_id = str(uuid.uuid4())
        name, namespace = f"kernel-{kernel_id}", self.observed.namespace
        template = kernel_template(spec, None).template
        if env:
            template["spec"]["containers"][0]["env"] = [
                {"name": key, "value": value} for key, value in env.items()
            ]
        info = {"ip": "0.0.0.0", "transport": "tcp", "signature_scheme": "hmac-sha256", "key": "k"}
        secret = an_object(SECRETS, name, {})
        del secret["spec"]
        secret["stringData"] = {"connection.json": json.dumps({**info, **PORTS})}
        await self.cluster.create(SECRETS, namespace, secret)
        fields = {
            "owner": "alice",
            "kernelID": kernel_id,
            "kernelSpecName": NAME,
            "connectionSecret": name,
            "template": template,
        }
        body = an_object(JUPYTER_KERNELS, name, fields)
        return await self.cluster.create(JUPYTER_KERNELS, namespace, body)

    async def ask(self, kernel: Object, code: str) -> str:
        """What a line prints in the kernel."""
        command = ["python3", "-c", ASK, code]
        done = await self.cluster.execute(
            self.observed.namespace, status_of(kernel)["podName"], "kernel", command, timeout=60
        )
        assert done.exit_code == 0, done.output
        return done.output.strip()


@pytest.fixture
async def pool(cluster: Cluster, images: Images, observed: Observed) -> AsyncIterator[Pool]:
    async with reflecting(cluster, JUPYTER_KERNEL_SPECS, observed.namespace) as specs:
        yield Pool(cluster, images, observed, specs)


async def test_a_kernel_is_in_a_pod_that_waited_and_the_next_one_waits(
    pool: Pool, running: Callable[..., Any], observed: Observed
) -> None:
    spec = await pool.make()
    async with running():
        await pool.says("1 of 1 ready.")
        (before,) = pool.waiting()

        kernel = await observed.phase(await pool.start(spec), Phase.RUNNING)
        assert status_of(kernel)["podName"] == name_of(before)
        # Its time is its own, not that of the pod.
        created = timestamps.parse(kernel["metadata"]["creationTimestamp"])
        started = timestamps.parse(status_of(kernel)["startTime"])
        assert created is not None
        assert started is not None
        assert created <= started
        look = "import os, sys; print(os.environ['KERNEL_USERNAME'], 'colorsys' in sys.modules)"
        assert await pool.ask(kernel, look) == "alice True"

        pod = await observed.pod(name_of(before), lambda pod: pod and not warm.is_waiting(pod))
        assert pod is not None
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("JupyterKernel", uid_of(kernel))
        assert uid_of(pod) == uid_of(before)

        await pool.says("0 of 1 ready.")
        await pool.says("1 of 1 ready.")
        (after,) = pool.waiting()
        assert uid_of(after) != uid_of(before)

        await pool.cluster.delete(JUPYTER_KERNELS, observed.namespace, name_of(kernel))
        await observed.pod(name_of(before), lambda pod: pod is None)
        # One that would be another pod is not put into one that waits.
        other = await observed.phase(await pool.start(spec, env={"MINE": "1"}), Phase.RUNNING)
        assert status_of(other)["podName"] == name_of(other)
        assert uid_of(pool.waiting()[0]) == uid_of(after)

        await pool.cluster.delete(JUPYTER_KERNEL_SPECS, observed.namespace, NAME)
        await observed.pod(name_of(after), lambda pod: pod is None)


async def test_one_that_was_claimed_and_not_told_is_left_for_a_new_pod(
    pool: Pool, running: Callable[..., Any], observed: Observed
) -> None:
    spec = await pool.make()
    async with running():
        await pool.says("1 of 1 ready.")
    # A service that is stopped between the two.
    (pod,) = pool.waiting()
    kernel = await pool.start(spec)
    patch = warm.claim(pod, kernels.desired_pod(kernel), timestamps.now())
    await pool.cluster.merge_patch(PODS, observed.namespace, name_of(pod), patch)

    async with running():
        await observed.pod(name_of(pod), lambda pod: pod is None)
        found = await observed.phase(kernel, Phase.RUNNING)
    assert status_of(found)["podName"] != name_of(pod)


@pytest.mark.parametrize(
    ("fields", "sections", "words"),
    [
        ({"home": True}, {}, "home: false"),
        ({"warm": {"pods": 3}}, {"warmKernels": {"most": 2}}, "an administrator allows 2"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, {}, "warmKernels.gpus"),
        ({"warm": {"pods": 1, "imports": ["no_such"]}}, {}, "No module named 'no_such'"),
    ],
)
async def test_where_there_are_none_the_spec_says_why(
    pool: Pool, running: Callable[..., Any], fields: Any, sections: Any, words: str
) -> None:
    await pool.make(**fields)
    async with running(**sections):
        spec = await pool.says(words)
    assert status_of(spec)["warm"]["ready"] == 0


async def test_pods_with_gpus_make_way_for_who_waits_for_one(
    pool: Pool, running: Callable[..., Any], start: Callable[..., Any], observed: Observed
) -> None:
    nodes = (await pool.cluster.list(NODES, None))["items"]
    gpus = sum(int(status_of(node)["allocatable"].get("nvidia.com/gpu", 0)) for node in nodes)
    assert gpus > 0
    await pool.make(resources={"limits": {"nvidia.com/gpu": 1}})
    async with running(warmKernels={"gpus": True}):
        await pool.says("1 of 1 ready.")
        wants = {"resources": {"limits": {"nvidia.com/gpu": gpus}}}
        kernel = await start(container=wants, kernelSpecName="other")
        await observed.phase(kernel, Phase.RUNNING)
        await pool.says("0 of 1 ready.")
        # The one that made way is gone a moment later; the next waits for a node.
        await until(lambda: not any(spec_of(pod).get("nodeName") for pod in pool.waiting()))
        await pool.cluster.delete(JUPYTER_KERNELS, observed.namespace, name_of(kernel))
        await pool.says("1 of 1 ready.")
