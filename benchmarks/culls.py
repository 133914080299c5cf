"""From an idle kernel's deadline to the moment its GPU is somebody else's."""

from __future__ import annotations

import statistics
import time

from benchmarks.bare_pod import BarePod, out_of_step
from demo.client import Person
from demo.install import Images
from demo.observe import (
    GPU,
    gpu_pod,
    gpus_of_the_cluster,
    is_scheduled,
    is_unschedulable,
    until_culled,
    watching,
)
from hub_service.kinds import JUPYTER_KERNELS, PODS
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector

_SECONDS = 60.0
_NEWCOMER = "newcomer"


async def measure(
    cluster: Cluster, namespace: str, person: Person, images: Images, rounds: int
) -> dict[str, float]:
    """Seconds from deadline to allocatable, less what a bare pod's own stop takes (medians)."""
    everything = await gpus_of_the_cluster(cluster)
    culls: list[float] = []
    stops: list[float] = []
    async with (
        watching(cluster, PODS, namespace) as pods,
        watching(cluster, JUPYTER_KERNELS, namespace) as kernels,
    ):
        for turn in range(rounds):
            kernel = await person.start_kernel("python-gpu")
            await out_of_step()  # the deadline counts from this cell
            await person.run(kernel, "1")
            async with gpu_pod(cluster, namespace, _NEWCOMER, images.name("kernel"), everything):
                culls.append(await _cull(cluster, namespace, kernel, kernels, pods))
            await pods.wait_for((namespace, _NEWCOMER), lambda pod: pod is None, _SECONDS)

            bare = BarePod(cluster, pods, namespace, images.name("kernel"))
            async with bare.connection_file():
                await bare.first_reply({"limits": {GPU: 1}})
                async with gpu_pod(
                    cluster, namespace, _NEWCOMER, images.name("kernel"), everything
                ):
                    await pods.wait_for((namespace, _NEWCOMER), is_unschedulable, _SECONDS)
                    await out_of_step()
                    stopping = time.monotonic()
                    await bare.stop()
                    await pods.wait_for((namespace, _NEWCOMER), is_scheduled, _SECONDS)
                    stops.append(time.monotonic() - stopping)
            await pods.wait_for((namespace, _NEWCOMER), lambda pod: pod is None, _SECONDS)
            print(
                f"  cull {turn + 1}: allocatable {culls[-1]:.2f} s after the deadline, "
                f"a bare pod's stop {stops[-1]:.2f} s",
                flush=True,
            )
    return {
        "cull_s_p50": round(statistics.median(culls), 3),
        "cull_s_max": round(max(culls), 3),
        "pod_stop_s_p50": round(statistics.median(stops), 3),
        "cull_to_allocatable_s": round(statistics.median(culls) - statistics.median(stops), 3),
        "cull_to_allocatable_max_s": round(max(culls) - statistics.median(stops), 3),
        "cull_rounds": rounds,
    }


async def _cull(
    cluster: Cluster, namespace: str, kernel: str, kernels: Reflector, pods: Reflector
) -> float:
    """Let one kernel idle past its deadline; seconds until somebody else has its GPU."""
    await pods.wait_for((namespace, _NEWCOMER), is_unschedulable, _SECONDS)
    deadline = await until_culled(cluster, namespace, f"kernel-{kernel}", kernels, seconds=3)
    await pods.wait_for((namespace, _NEWCOMER), is_scheduled, _SECONDS)
    return time.time() - deadline
