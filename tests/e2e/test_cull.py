"""An idle kernel's GPU goes back; a busy kernel is left alone, however long its cell takes."""

from __future__ import annotations

import time

import pytest

from demo.install import Images
from demo.observe import gpu_pod, gpus_of_the_cluster, is_running, kernels_of, watching
from hub_service.kinds import JUPYTER_GATEWAYS, JUPYTER_KERNELS, PODS, is_true, status_of
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, gpus_become

SECONDS = 60.0


async def allow_idling(cluster: Cluster, namespace: str, kernel: str, seconds: int) -> None:
    await cluster.merge_patch(
        JUPYTER_KERNELS, namespace, f"kernel-{kernel}", {"spec": {"cullIdleTimeout": seconds}}
    )


@pytest.mark.both_modes
async def test_an_idle_kernel_is_culled_and_its_gpu_goes_to_who_waits(
    house: House,
    cluster: Cluster,
    namespace: str,
    everywhere: str | None,
    kernels: Reflector,
    images: Images,
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python-gpu")
    key = (namespace, f"kernel-{kernel}")
    everything = await gpus_of_the_cluster(cluster)

    async with (
        person.connect(kernel) as connection,
        watching(cluster, PODS, namespace) as pods,
        gpu_pod(cluster, namespace, "newcomer", images.name("kernel"), everything),
    ):
        await connection.execute("x = 1")
        await allow_idling(cluster, namespace, kernel, 2)

        culled = await kernels.wait_for(key, lambda k: k is None or is_true(k, "Culled"), SECONDS)
        assert culled is None or status_of(culled)["phase"] == "Culled"
        await kernels.wait_for(key, lambda item: item is None, SECONDS)
        await pods.wait_for((namespace, "newcomer"), is_running, SECONDS)

        # The notebook, still open, is told, and nothing brings the kernel back.
        told = ""
        while "dead" not in told:
            message = await connection.receive(timeout=SECONDS)
            told += str(message["content"])
        assert "idle" in told, told
    assert await kernels_of(cluster, namespace, "ada") == []
    assert {model["execution_state"] for model in await person.kernels()} <= {"dead"}
    await gpus_become(0, cluster, everywhere)


async def test_a_busy_kernel_outlives_its_deadline(
    house: House, cluster: Cluster, namespace: str, everywhere: str | None, kernels: Reflector
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python-gpu")
    key = (namespace, f"kernel-{kernel}")
    await allow_idling(cluster, namespace, kernel, 2)

    async with person.connect(kernel) as connection:
        started = time.monotonic()
        cell = await connection.execute("import time; time.sleep(8); print('done')")
        assert cell.text == "done\n"
        assert time.monotonic() - started > 8

    # Idle from now on: this one, with nobody connected, ends.
    await kernels.wait_for(key, lambda item: item is None, SECONDS)
    await gpus_become(0, cluster, everywhere)


@pytest.mark.both_modes
async def test_the_gateways_time_out_counts_where_the_kernel_has_none(
    house: House,
    cluster: Cluster,
    namespace: str,
    kernels: Reflector,
    adas_gateway: tuple[str, str],
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python")
    key = (namespace, f"kernel-{kernel}")
    await person.run(kernel, "1")

    await _gateway_allows_idling(cluster, adas_gateway, 2)
    try:
        await kernels.wait_for(key, lambda item: item is None, SECONDS)
    finally:
        await _gateway_allows_idling(cluster, adas_gateway, None)


async def _gateway_allows_idling(
    cluster: Cluster, gateway: tuple[str, str], seconds: int | None
) -> None:
    body = {"spec": {"cullIdleTimeout": seconds}}
    await cluster.merge_patch(JUPYTER_GATEWAYS, *gateway, body)
