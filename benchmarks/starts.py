"""A kernel's start through the gateway, and that of a bare pod, in turn."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import aiohttp
from yarl import URL

from benchmarks.bare_pod import BarePod, out_of_step
from demo.connection import connected
from demo.install import Images
from demo.observe import watching
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNELS, PODS
from hub_service.kube.client import Cluster

_SPEC = "python"


@dataclass(frozen=True)
class Gateway:
    """A gateway, and a token that it takes."""

    url: URL
    token: str

    def session(self) -> aiohttp.ClientSession:
        """A client that shows the token."""
        return aiohttp.ClientSession(headers={"Authorization": f"token {self.token}"})


async def first_reply(client: aiohttp.ClientSession, gateway: Gateway) -> tuple[float, str]:
    """POST a kernel and run one line; seconds from the POST to the reply, and the kernel's id."""
    started = time.monotonic()
    async with client.post(gateway.url / "api/kernels", json={"name": _SPEC}) as response:
        response.raise_for_status()
        kernel = (await response.json())["id"]
    async with connected(client, gateway.url / "api/kernels" / kernel / "channels") as connection:
        await connection.execute("1")
        return time.monotonic() - started, kernel


async def compare(
    cluster: Cluster, namespace: str, gateway: Gateway, images: Images, pairs: int
) -> dict[str, float]:
    """Alternate both; ratios of the medians and of the 95th percentiles, and the seconds."""
    spec = await cluster.get(JUPYTER_KERNEL_SPECS, namespace, _SPEC)
    resources = spec["spec"].get("resources", {})
    ours: list[float] = []
    floor: list[float] = []
    async with (
        gateway.session() as client,
        watching(cluster, PODS, namespace) as pods,
        watching(cluster, JUPYTER_KERNELS, namespace) as kernels,
    ):
        for pair in range(pairs + 1):
            bare = BarePod(cluster, pods, namespace, images.name("kernel"))
            async with bare.connection_file():
                await out_of_step()
                bare_seconds = await bare.first_reply(resources)
                await bare.stop()
                await pods.wait_for((namespace, bare.name), lambda pod: pod is None, 60)
            await out_of_step()
            seconds, kernel = await first_reply(client, gateway)
            async with client.delete(gateway.url / "api/kernels" / kernel) as response:
                response.raise_for_status()
            name = f"kernel-{kernel}"
            await kernels.wait_for((namespace, name), lambda item: item is None, 60)
            await pods.wait_for((namespace, name), lambda item: item is None, 60)
            if pair == 0:
                continue  # warms caches on both sides
            ours.append(seconds)
            floor.append(bare_seconds)
            print(f"  start {pair}: {seconds:.2f} s, bare pod {bare_seconds:.2f} s", flush=True)
    return {
        "start_s_p50": round(statistics.median(ours), 3),
        "start_floor_s_p50": round(statistics.median(floor), 3),
        "start_ratio_p50": round(statistics.median(ours) / statistics.median(floor), 3),
        "start_ratio_p95": round(_p95(ours) / _p95(floor), 3),
        "start_pairs": pairs,
    }


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
