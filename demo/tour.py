"""The tour: one person's morning with an elastic kernel, with real figures.

Log in, open JupyterLab from a pod without a GPU, run a cell on a GPU kernel, walk away, and see
the GPU given to somebody else.
"""

from __future__ import annotations

import time

from demo.client import Person
from demo.install import Images, Installation, kubectl
from demo.observe import (
    gpu_pod,
    gpus_in_use,
    gpus_of_the_cluster,
    is_running,
    is_scheduled,
    is_unschedulable,
    kernels_of,
    until_culled,
    watching,
)
from hub_service.kinds import JUPYTER_KERNELS, PODS, name_of
from hub_service.kube.client import Cluster

# Seconds that the tour's kernel may idle, so that nobody waits an hour for the end of the tour.
_IDLE_SECONDS = 5
_PATIENCE = 60.0
_NEWCOMER = "newcomer"

_CELL = """
import os, platform
print("kernel on", platform.node(), "with", os.environ.get("NVIDIA_VISIBLE_DEVICES", "no GPU"))
"""


async def tour(
    installation: Installation, images: Images, *, user: str = "ada"
) -> dict[str, float]:
    """Walk the whole path, print what was seen, and return the figures."""
    namespace = installation.namespace
    async with (
        Cluster.from_environment() as cluster,
        Person(installation.url, user, installation.password) as person,
    ):
        figures: dict[str, float] = {}
        started = time.monotonic()
        await person.login()
        await person.start_server()
        figures["seconds_login_to_lab"] = _since(started)
        _say(f"{user} logged in and has JupyterLab after {figures['seconds_login_to_lab']} s")

        figures["gpus_notebook_only"] = await gpus_in_use(cluster, namespace)
        _say(f"GPUs held with only the notebook open: {figures['gpus_notebook_only']}")

        started = time.monotonic()
        kernel = await person.start_kernel("python-gpu")
        cell = await person.run(kernel, _CELL)
        figures["seconds_kernel_start"] = _since(started)
        figures["gpus_kernel"] = await gpus_in_use(cluster, namespace)
        _say(f"first cell's answer after {figures['seconds_kernel_start']} s: {cell.text.strip()}")
        _say(f"GPUs held while the kernel lives: {figures['gpus_kernel']}")
        print("\n$ kubectl get jupyterkernels -A")
        print(kubectl("get", "jupyterkernels", "-A"))

        (resource,) = [
            k for k in await kernels_of(cluster, namespace, user) if k["spec"]["kernelID"] == kernel
        ]
        figures |= await _walk_away(cluster, namespace, name_of(resource), images)

        # Leave nothing of the tour behind; the hub stays up.
        await person.stop_server()
    return figures


async def _walk_away(
    cluster: Cluster, namespace: str, kernel: str, images: Images
) -> dict[str, float]:
    """Let the kernel idle past its deadline, with somebody waiting for all the GPUs there are."""
    everything = await gpus_of_the_cluster(cluster)
    _say(f"{_NEWCOMER} wants all {everything} GPUs of the cluster, and waits")
    async with (
        watching(cluster, PODS, namespace) as pods,
        watching(cluster, JUPYTER_KERNELS, namespace) as kernels,
        gpu_pod(cluster, namespace, _NEWCOMER, images.name("kernel"), everything),
    ):
        newcomer = (namespace, _NEWCOMER)
        await pods.wait_for(newcomer, is_unschedulable, _PATIENCE)
        _say(f"{kernel} idles; its deadline is in {_IDLE_SECONDS} s")
        deadline = await until_culled(cluster, namespace, kernel, kernels, seconds=_IDLE_SECONDS)
        await pods.wait_for(newcomer, is_scheduled, _PATIENCE)
        seconds = round(time.time() - deadline, 2)
        _say(f"the GPUs were allocatable {seconds} s after the kernel's deadline")
        await pods.wait_for(newcomer, is_running, _PATIENCE)
        _say(f"{_NEWCOMER} runs with all {everything} GPUs")
        await kernels.wait_for((namespace, kernel), lambda item: item is None, _PATIENCE)
        held = await gpus_in_use(cluster, namespace) - everything
    _say(f"GPUs held by kernels after the cull: {held}")
    return {"gpus_after_cull": held, "seconds_deadline_to_allocatable": seconds}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)
