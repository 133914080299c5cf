"""Many JupyterKernels at once, against the same number of pods made by hand."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
import uuid
from collections.abc import Mapping
from typing import Any

from benchmarks.service import GATEWAY, SPEC, each, fresh_namespace, service
from demo.observe import watching
from hub_service.kernels import kernel
from hub_service.kinds import JUPYTER_KERNELS, PODS, Object, name_of, status_of
from hub_service.kube import Cluster, Key, Reflector

_SECONDS = 300.0
_PER_USER = 2
# Nobody serves this scheduler: the pods are there, and wait.
WAITING: Mapping[str, Any] = {"schedulerName": "none"}


def a_kernel(number: int, pod_spec: Mapping[str, Any] = WAITING) -> Object:
    """A JupyterKernel as a gateway makes them; `pod_spec` says where its pod goes."""
    kernel_id = str(uuid.uuid4())
    name = f"kernel-{kernel_id}"
    container = {
        "name": "kernel",
        "image": "elastic/none:none",
        "command": ["python3", "-m", "ipykernel_launcher", "-f", "/run/elastic/connection.json"],
        "env": [{"name": "LANG", "value": "C.UTF-8"}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": "1Gi"},
        },
    }
    return {
        "apiVersion": JUPYTER_KERNELS.api_version,
        "kind": JUPYTER_KERNELS.kind,
        "metadata": {"name": name},
        "spec": {
            "kernelID": kernel_id,
            "owner": f"user-{number // _PER_USER}",
            "server": "",
            "kernelSpecName": SPEC,
            "gateway": {"name": GATEWAY},
            "connectionSecret": name,
            "template": {"spec": {"containers": [container], **pod_spec}},
        },
    }


def a_pod(item: Object, namespace: str) -> Object:
    """The pod that the service makes of a kernel, without the kernel."""
    metadata = {**item["metadata"], "namespace": namespace, "uid": ""}
    pod = kernel.desired_pod({**item, "metadata": metadata})
    del pod["metadata"]["ownerReferences"]
    return pod


class Arrivals:
    """When each object was seen first, by name (seconds of the monotonic clock)."""

    def __init__(self, reflector: Reflector, count: int) -> None:
        self.at: dict[str, float] = {}
        self._count = count
        self._complete = asyncio.Event()
        reflector.subscribe(self._note)

    def _note(self, key: Key, _old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.at.setdefault(key.name, time.monotonic())
        if len(self.at) >= self._count:
            self._complete.set()

    async def complete(self) -> None:
        """Return once as many as were expected are there."""
        async with asyncio.timeout(_SECONDS):
            await self._complete.wait()


async def compare(cluster: Cluster, count: int, rounds: int) -> dict[str, float]:
    """In turn: `count` pods made by hand, and as many made of JupyterKernels. Medians."""
    raw: list[float] = []
    ours: list[float] = []
    waits: list[float] = []
    told: list[float] = []
    for turn in range(rounds + 1):
        number = count if turn else count // 10  # the first round warms up, and counts not
        async with fresh_namespace(cluster) as namespace:
            by_hand = number / await _pods(cluster, namespace, number)
        async with fresh_namespace(cluster) as namespace, service(cluster, namespace) as one:
            before = one.cpu_seconds()
            seconds, wait, reported = await _kernels(cluster, namespace, number)
            cpu = one.cpu_seconds() - before
        if turn == 0:
            continue
        raw.append(by_hand)
        ours.append(number / seconds)
        waits.append(wait)
        told.append(reported)
        print(
            f"  burst {turn}: {ours[-1]:.0f} kernels a second, {raw[-1]:.0f} pods by hand; "
            f"status of all after {reported:.1f} s; {cpu / number * 1e3:.1f} ms of CPU a kernel",
            flush=True,
        )
    return {
        "burst_rate": round(statistics.median(ours), 1),
        "burst_raw_rate": round(statistics.median(raw), 1),
        "burst_ratio": round(statistics.median(a / b for a, b in zip(ours, raw, strict=True)), 3),
        "burst_wait_s_p99": round(statistics.median(waits), 2),
        "burst_told_s": round(statistics.median(told), 1),
        "burst_kernels": count,
        "burst_rounds": rounds,
    }


async def _pods(cluster: Cluster, namespace: str, count: int) -> float:
    """Seconds from the first request to the last of the pods, seen by a watch."""
    bodies = [a_pod(a_kernel(number), namespace) for number in range(count)]
    async with watching(cluster, PODS, namespace) as pods:
        arrivals = Arrivals(pods, count)
        started = time.monotonic()
        await each(bodies, lambda body: cluster.create(PODS, namespace, body))
        await arrivals.complete()
        return max(arrivals.at.values()) - started


async def _kernels(cluster: Cluster, namespace: str, count: int) -> tuple[float, float, float]:
    """Seconds from the first request for a resource to the last pod, seen by a watch.

    With them the 99th percentile of the time from a resource's request to its pod, and the seconds
    until all resources tell of their pods.
    """
    bodies = [a_kernel(number) for number in range(count)]
    sent: dict[str, float] = {}

    async def create(body: Object) -> None:
        sent[name_of(body)] = time.monotonic()
        await cluster.create(JUPYTER_KERNELS, namespace, body)

    async with watching(cluster, PODS, namespace, label_selector=_OURS) as pods:
        arrivals = Arrivals(pods, count)
        started = time.monotonic()
        await each(bodies, create)
        await arrivals.complete()
        seconds = max(arrivals.at.values()) - started
        await all_tell_of_their_pods(cluster, namespace, count)
        reported = time.monotonic() - started
    waits = sorted(arrivals.at[name] - begun for name, begun in sent.items())
    return seconds, waits[int(len(waits) * 0.99)], reported


_OURS = "app.kubernetes.io/managed-by=elastic-hub-service,app.kubernetes.io/component=kernel"


async def all_tell_of_their_pods(cluster: Cluster, namespace: str, count: int) -> None:
    """Return once so many kernels have their pod in their status."""
    async with asyncio.timeout(_SECONDS):
        for turn in itertools.count():
            await asyncio.sleep(0.2 if turn == 0 else 1.0)
            items = (await cluster.list(JUPYTER_KERNELS, namespace))["items"]
            if sum(bool(status_of(item).get("podName")) for item in items) >= count:
                return
