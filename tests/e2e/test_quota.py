"""A user's third kernel is refused, in words that help, and nobody else notices."""

from __future__ import annotations

import pytest

from demo.client import RequestFailedError
from demo.observe import kernels_of
from hub_service.kinds import PODS
from hub_service.kube.client import Cluster
from tests.e2e.support import House


@pytest.mark.both_modes
async def test_a_start_over_the_quota_is_refused_and_says_why(
    house: House, cluster: Cluster, namespace: str
) -> None:
    ada, grace = await house.open("ada"), await house.open("grace")
    held = [await ada.start_kernel("python"), await ada.start_kernel("python")]

    with pytest.raises(RequestFailedError) as refusal:
        await ada.open_notebook("third.ipynb", "python")

    print(refusal.value.status, refusal.value.message)
    assert "2 kernels" in refusal.value.message
    for kernel in held:
        assert kernel in refusal.value.message
    assert len(await kernels_of(cluster, namespace, "ada")) == 2
    pods = await cluster.list(PODS, namespace, "app.kubernetes.io/component=kernel")
    assert len(pods["items"]) == 2

    assert (await grace.run(await grace.start_kernel("python"), "print(1)")).text == "1\n"
    await ada.shut_down(held[0])
    assert (await ada.run(await ada.start_kernel("python"), "print(2)")).text == "2\n"
