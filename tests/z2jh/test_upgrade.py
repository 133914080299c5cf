"""An upgrade of the release and a rollback replace the hub; people's kernels don't notice."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from demo.client import RequestFailedError
from demo.install import Images, Installation
from demo.observe import kernels_of
from hub_service.kinds import uid_of
from hub_service.kube.client import Cluster
from tests.e2e.support import House, hub_pod
from tests.z2jh import chart as by_chart


async def test_kernels_go_on_through_an_upgrade(
    installation: Installation, images: Images, cluster: Cluster
) -> None:
    async with AsyncExitStack() as stack:
        by_chart.install(images)
        ada = await House(installation, stack).open("ada")
        kernel = await ada.start_kernel("python-gpu")
        assert (await ada.run(kernel, "x = 41")).status == "ok"
        (before,) = await kernels_of(cluster, installation.namespace, "ada")
        hub = hub_pod()

        by_chart.install(images, {"quota": {"kernelsPerUser": 3}})

        assert hub_pod() != hub
        assert (await ada.run(kernel, "print(x + 1)")).text == "42\n"
        (after,) = await kernels_of(cluster, installation.namespace, "ada")
        assert uid_of(after) == uid_of(before)
        for _ in range(2):  # three in all: the new quota counts
            last = await ada.start_kernel("python")
        await ada.shut_down(last)
        hub = hub_pod()

        by_chart.roll_back()

        assert hub_pod() != hub
        assert (await ada.run(kernel, "print(x + 2)")).text == "43\n"
        with pytest.raises(RequestFailedError, match="ada may have 2 kernels"):
            await ada.start_kernel("python")
