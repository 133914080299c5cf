"""A kernel for a group of the hub: its members see and start it, and for others there is none."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest

from demo.client import RequestFailedError
from demo.install import Images, Installation
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNELS, condition, is_deleting
from hub_service.kube import ApiError, Cluster, Reflector
from tests.e2e.support import House

NAME = "for-some"
GROUP = "deep-learning"


@pytest.fixture
async def undone(house: House, cluster: Cluster) -> AsyncIterator[contextlib.AsyncExitStack]:
    """What is to be undone while the hub and the cluster can still be reached."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def test_a_kernel_for_a_group(
    house: House,
    undone: contextlib.AsyncExitStack,
    cluster: Cluster,
    kernels: Reflector,
    installation: Installation,
    namespace: str,
    images: Images,
) -> None:
    admin, lin = await house.enter("admin"), await house.enter("lin")
    await admin.login()
    await lin.login()
    await admin.make_group(GROUP, "lin")
    undone.push_async_callback(admin.delete_group, GROUP)
    spec = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": NAME},
        "spec": {"image": images.name("kernel"), "visibility": {"groups": [GROUP]}},
    }
    await cluster.create(JUPYTER_KERNEL_SPECS, installation.namespace, spec)
    undone.push_async_callback(cluster.delete, JUPYTER_KERNEL_SPECS, installation.namespace, NAME)
    lin, ada = await house.open("lin"), await house.open("ada")
    undone.push_async_callback(lin.stop_server)

    assert NAME in (await lin.kernelspecs())["kernelspecs"]
    kernel = await lin.start_kernel(NAME)
    assert (await lin.run(kernel, "print(1)")).text == "1\n"

    assert NAME not in (await ada.kernelspecs())["kernelspecs"]
    with pytest.raises(RequestFailedError) as refused:
        await ada.start_kernel(NAME)
    assert f"There is no kernel '{NAME}' here" in refused.value.message

    # Not by a resource of her own either, whoever may have made it.
    kernel_id = str(uuid.uuid4())
    past_the_gateway = {
        "apiVersion": JUPYTER_KERNELS.api_version,
        "kind": JUPYTER_KERNELS.kind,
        "metadata": {"name": f"kernel-{kernel_id}"},
        "spec": {
            "kernelID": kernel_id,
            "owner": "ada",
            "kernelSpecName": NAME,
            "template": {
                "spec": {"containers": [{"name": "kernel", "image": images.name("kernel")}]}
            },
        },
    }
    await cluster.create(JUPYTER_KERNELS, namespace, past_the_gateway)
    try:
        async with asyncio.timeout(20):
            said = await kernels.wait_for(
                (namespace, f"kernel-{kernel_id}"),
                lambda item: item is not None and condition(item, "Admitted") is not None,
            )
        assert said is not None
        assert not is_deleting(said)
        admitted = condition(said, "Admitted") or {}
        assert (admitted["status"], admitted["reason"]) == ("False", "KernelSpecNotOffered")
    finally:
        with contextlib.suppress(ApiError):
            await cluster.delete(JUPYTER_KERNELS, namespace, f"kernel-{kernel_id}")
