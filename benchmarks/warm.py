"""A kernel's start in a warm pod, and in a new one, in turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

import aiohttp

from benchmarks.starts import Gateway
from demo.connection import connected
from demo.install import Images
from demo.observe import watching
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNELS, Object, status_of
from hub_service.kube import Cluster, Reflector

_IMPORTS = ("numpy", "sklearn.linear_model")
_READY_WITHIN = 120


class _Seconds(NamedTuple):
    """From the POST of a kernel to its first reply, and to that of a cell with the imports."""

    reply: float
    imported: float


async def compare(
    cluster: Cluster, namespace: str, gateway: Gateway, images: Images, rounds: int
) -> dict[str, float]:
    """Alternate both; medians. The two specs differ in nothing but their warm pods."""
    fields = {"language": "python", "image": images.name("kernel"), "home": False}
    warm = {"warm": {"pods": 1, "imports": list(_IMPORTS)}}
    found: dict[str, list[_Seconds]] = {"warm": [], "cold": []}
    async with AsyncExitStack() as stack:
        for name, spec in (("warm", {**fields, **warm}), ("cold", fields)):
            await _spec(cluster, namespace, f"bench-{name}", spec)
            stack.push_async_callback(
                cluster.delete, JUPYTER_KERNEL_SPECS, namespace, f"bench-{name}"
            )
        client = await stack.enter_async_context(gateway.session())
        specs = await stack.enter_async_context(watching(cluster, JUPYTER_KERNEL_SPECS, namespace))
        kernels = await stack.enter_async_context(watching(cluster, JUPYTER_KERNELS, namespace))
        for turn in range(rounds + 1):
            for name, seconds in found.items():
                pool = (namespace, "bench-warm")
                await specs.wait_for(pool, _is_ready, _READY_WITHIN)
                # The next pod is made beside neither kind of start.
                used = asyncio.create_task(specs.wait_for(pool, _is_used, _READY_WITHIN))
                one = await _start(client, gateway, kernels, namespace, name)
                if name == "warm":
                    await used
                used.cancel()
                if turn:  # the first of each warms caches
                    seconds.append(one)
                    print(
                        f"  {name} {turn}: first reply {one.reply:.2f} s, "
                        f"imports done {one.imported:.2f} s",
                        flush=True,
                    )
    return {
        f"{name}_{figure}_s": round(statistics.median(getattr(one, field) for one in seconds), 3)
        for name, seconds in found.items()
        for figure, field in (("start", "reply"), ("imports", "imported"))
    } | {"warm_rounds": rounds}


async def _spec(cluster: Cluster, namespace: str, name: str, spec: Object) -> None:
    body = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, body)


def _is_ready(item: Object | None) -> bool:
    return (status_of(item or {}).get("warm") or {}).get("ready") == 1


def _is_used(item: Object | None) -> bool:
    return not _is_ready(item)


async def _start(
    client: aiohttp.ClientSession,
    gateway: Gateway,
    kernels: Reflector,
    namespace: str,
    name: str,
) -> _Seconds:
    """Start one, run two cells, and shut it down."""
    url = gateway.url / "api/kernels"
    began = time.monotonic()
    async with client.post(url, json={"name": f"bench-{name}"}) as response:
        response.raise_for_status()
        kernel = (await response.json())["id"]
    async with connected(client, url / kernel / "channels") as connection:
        await connection.execute("1")
        reply = time.monotonic() - began
        done = await connection.execute("\n".join(f"import {module}" for module in _IMPORTS))
        imported = time.monotonic() - began
    if done.status != "ok":
        raise RuntimeError(f"the imports failed: {done.error}")
    key = (namespace, f"kernel-{kernel}")
    pod = str(status_of(kernels.store.get(key) or {}).get("podName"))
    if pod.startswith("bench-warm-warm-") != (name == "warm"):
        raise RuntimeError(f"a {name} start ran in pod {pod}")
    async with client.delete(url / kernel) as response:
        response.raise_for_status()
    await kernels.wait_for(key, lambda item: item is None, 60)
    return _Seconds(reply, imported)
