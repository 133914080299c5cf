"""Kernels in pods that waited for them are like any other to their users."""

from __future__ import annotations

import pytest

from demo.install import Images, Installation
from demo.observe import watching
from hub_service.kinds import JUPYTER_KERNEL_SPECS, PODS, name_of, status_of, uid_of
from hub_service.kube.client import Cluster
from tests.e2e.support import House, OneKernel

NAME = "warm"


@pytest.mark.one_namespace
async def test_a_warm_kernel_is_its_users_in_every_respect(
    house: House,
    cluster: Cluster,
    installation: Installation,
    images: Images,
    kernel_of: OneKernel,
) -> None:
    namespace = installation.namespace
    body = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": NAME},
        "spec": {
            "language": "python",
            "displayName": "Warm",
            "image": images.name("kernel"),
            "home": False,
            "warm": {"pods": 1, "imports": ["numpy"]},
        },
    }
    ada = await house.open("ada")
    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, body)
    try:
        async with watching(cluster, JUPYTER_KERNEL_SPECS, namespace) as specs:
            await specs.wait_for(
                (namespace, NAME),
                lambda item: (status_of(item or {}).get("warm") or {}).get("ready") == 1,
                60,
            )
        kernel = await ada.start_kernel(NAME)
        look = (
            "import os, sys\n"
            "print(os.environ['KERNEL_USERNAME'], os.environ['KERNEL_ID'], os.getcwd(), "
            "'numpy' in sys.modules)"
        )
        cell = await ada.run(kernel, look)
        assert cell.text == f"ada {kernel} /home/jovyan True\n", cell.error
        item = await kernel_of("ada")
        pod = await cluster.get(PODS, namespace, status_of(item)["podName"])
        assert name_of(pod).startswith(f"{NAME}-warm-")
        assert pod["metadata"]["labels"]["kubeflow.tkestack.io/owner"] == "ada"

        await ada.restart(kernel)
        cell = await ada.run(kernel, look)
        assert cell.text == f"ada {kernel} /home/jovyan False\n", cell.error
        same = await cluster.get(PODS, namespace, name_of(pod))
        assert uid_of(same) == uid_of(pod)

        async with watching(cluster, PODS, namespace) as pods:
            await ada.shut_down(kernel)
            await pods.wait_for((namespace, name_of(pod)), lambda pod: pod is None, 60)
    finally:
        await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, NAME)
