"""The service with many kernels that do nothing: one more start, and what a minute costs.

The kernels' nodes exist only in the API: a simulated kubelet says that their pods run, a simulated
gateway that they are idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import statistics
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from benchmarks.burst import Arrivals, a_kernel, all_tell_of_their_pods
from benchmarks.service import Service, each, fresh_namespace, service
from demo.observe import NODES, watching
from hub_service import timestamps
from hub_service.kinds import JUPYTER_KERNELS, PODS, Object, Phase, Resource, name_of, status_of
from hub_service.kube import ApiError, Cluster, Reflector

_LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
_LEASE_NAMESPACE = "kube-node-lease"
_PODS_A_NODE = 100
# At rest are so many requests in so many seconds: the Lease's, and a few.
_QUIET, _WINDOW = 10, 5.0
_MINUTE = 60.0
_SECONDS = 120.0


async def measure(cluster: Cluster, count: int, starts: int) -> dict[str, float]:
    """Latency of `starts` starts, one at a time, beside `count` kernels; then a minute of rest."""
    async with fresh_namespace(cluster) as namespace, _nodes(cluster, namespace, count) as nodes:
        try:
            async with (
                service(cluster, namespace) as one,
                watching(cluster, PODS, namespace) as pods,
            ):
                names = await _alive(cluster, namespace, nodes, pods, count)
                figures = await _starts(cluster, namespace, pods, starts)
                return figures | await _rest(cluster, namespace, one, names)
        finally:
            # No kubelet takes leave of them.
            await each(
                [name_of(pod) for pod in (await cluster.list(PODS, namespace))["items"]],
                lambda name: _force(cluster, namespace, name),
            )


async def _force(cluster: Cluster, namespace: str, name: str) -> None:
    with contextlib.suppress(ApiError):
        await cluster.delete(PODS, namespace, name, grace_period=0)


async def _at_rest(one: Service) -> None:
    """Until the service has done what the starts left to do, such as to write their Events."""
    async with asyncio.timeout(_SECONDS):
        done, before = one.requests(), -math.inf
        while done - before > _QUIET:
            await asyncio.sleep(_WINDOW)
            before, done = done, one.requests()


async def _alive(
    cluster: Cluster, namespace: str, nodes: list[str], pods: Reflector, count: int
) -> list[str]:
    """So many kernels that run and are idle; their names."""
    arrivals = Arrivals(pods, count)
    bodies = [
        a_kernel(number, {"nodeName": nodes[number // _PODS_A_NODE]}) for number in range(count)
    ]
    await each(bodies, lambda body: cluster.create(JUPYTER_KERNELS, namespace, body))
    await arrivals.complete()
    names = [name_of(body) for body in bodies]
    await all_tell_of_their_pods(cluster, namespace, count)
    await each(
        enumerate(names),
        lambda one: cluster.merge_patch(
            PODS, namespace, one[1], {"status": _running(one[0])}, subresource="status"
        ),
    )
    async with asyncio.timeout(_SECONDS):
        while await _running_kernels(cluster, namespace) < count:  # noqa: ASYNC110
            await asyncio.sleep(1)
    await each(names, lambda name: _report(cluster, namespace, name))
    print(f"  {count} kernels are idle", flush=True)
    return names


async def _running_kernels(cluster: Cluster, namespace: str) -> int:
    items = (await cluster.list(JUPYTER_KERNELS, namespace))["items"]
    return sum(status_of(item).get("phase") == Phase.RUNNING for item in items)


async def _starts(
    cluster: Cluster, namespace: str, pods: Reflector, count: int
) -> dict[str, float]:
    """From the request for a resource to its pod, seen by a watch; one at a time."""
    seconds = []
    async with watching(cluster, JUPYTER_KERNELS, namespace) as kernels:
        for number in range(count + 10):
            body = a_kernel(1_000_000 + 2 * number)
            key = (namespace, name_of(body))
            started = time.monotonic()
            async with asyncio.TaskGroup() as both:
                both.create_task(cluster.create(JUPYTER_KERNELS, namespace, body))
                await pods.wait_for(key, lambda pod: pod is not None, _SECONDS)
                taken = time.monotonic() - started
            await kernels.wait_for(key, lambda k: bool(status_of(k or {}).get("podName")), _SECONDS)
            if number >= 10:  # those before warm up
                seconds.append(taken)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    print(f"  starts: {cuts[49] * 1e3:.1f} ms median, {cuts[98] * 1e3:.1f} ms p99", flush=True)
    return {
        "reconcile_p50_ms": round(cuts[49] * 1e3, 1),
        "reconcile_p99_ms": round(cuts[98] * 1e3, 1),
        "reconcile_starts": count,
    }


async def _rest(
    cluster: Cluster, namespace: str, one: Service, names: list[str]
) -> dict[str, float]:
    """A minute in which each kernel's activity is reported once, evenly spread."""
    await _at_rest(one)
    cpu, requests, started = one.cpu_seconds(), one.requests(), time.monotonic()
    pause = _MINUTE / len(names)
    for number, name in enumerate(names):
        await asyncio.sleep(started + number * pause - time.monotonic())
        await _report(cluster, namespace, name)
    await asyncio.sleep(started + _MINUTE - time.monotonic())
    seconds = time.monotonic() - started
    figures = {
        "idle_cpu_percent": round((one.cpu_seconds() - cpu) / seconds * 100, 2),
        "idle_rss_mb": round(one.rss_mb(), 1),
        "idle_requests_per_s": round((one.requests() - requests) / seconds, 2),
        "idle_kernels": len(names),
    }
    print(f"  idle: {figures}", flush=True)
    return figures


async def _report(cluster: Cluster, namespace: str, name: str) -> None:
    """What a gateway writes of an idle kernel."""
    now = timestamps.microseconds(datetime.now(UTC))
    activity = {
        "executionState": "idle",
        "lastActivity": now,
        "idleSince": now,
        "connections": 1,
    }
    body = {"status": {"activity": activity}}
    await cluster.merge_patch(JUPYTER_KERNELS, namespace, name, body, subresource="status")


def _running(number: int) -> Object:
    """What a kubelet writes of a pod whose container runs."""
    now = timestamps.seconds(datetime.now(UTC))
    address = f"100.64.{number // 250}.{number % 250 + 1}"
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("Initialized", "ContainersReady", "Ready", "PodScheduled")
        ],
        "containerStatuses": [
            {
                "name": "kernel",
                "image": "elastic/none:none",
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
        ],
    }


@contextlib.asynccontextmanager
async def _nodes(cluster: Cluster, prefix: str, pods: int) -> AsyncIterator[list[str]]:
    """Nodes for so many pods, which are ready as long as the block lasts."""
    names = [f"{prefix}-{number}" for number in range(-(-pods // _PODS_A_NODE))]
    try:
        for name in names:
            await cluster.create(NODES, None, _node(name))
            await cluster.create(_LEASES, _LEASE_NAMESPACE, {"metadata": {"name": name}, **_held()})
            status = {"status": _ready()}
            await cluster.merge_patch(NODES, None, name, status, subresource="status")
        heartbeat = asyncio.create_task(_heartbeats(cluster, names))
        try:
            yield names
        finally:
            heartbeat.cancel()
    finally:
        for name in names:
            for resource, namespace in ((NODES, None), (_LEASES, _LEASE_NAMESPACE)):
                with contextlib.suppress(ApiError):
                    await cluster.delete(resource, namespace, name)


async def _heartbeats(cluster: Cluster, names: list[str]) -> None:
    while True:
        for name in names:
            with contextlib.suppress(ApiError):
                await cluster.merge_patch(_LEASES, _LEASE_NAMESPACE, name, _held())
        await asyncio.sleep(10)


def _held() -> Object:
    now = timestamps.microseconds(datetime.now(UTC))
    return {"spec": {"holderIdentity": "bench", "leaseDurationSeconds": 40, "renewTime": now}}


def _node(name: str) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"taints": [{"key": "elastic-kernels/bench", "effect": "NoSchedule"}]},
    }


def _ready() -> Object:
    now = timestamps.seconds(datetime.now(UTC))
    room = {"cpu": "64", "memory": "256Gi", "pods": "250"}
    return {
        "capacity": room,
        "allocatable": room,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Simulated",
                "message": "There is no machine.",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
        ],
    }
