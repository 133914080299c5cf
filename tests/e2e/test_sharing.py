"""An idle kernel's GPU goes to somebody who waits for one, and while nobody does it stays."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from demo.install import Images, Installation
from demo.observe import gpu_pod, gpus_of_the_cluster, kernels_of
from hub_service.kinds import JUPYTER_KERNEL_SPECS, Object, condition, is_true, name_of
from hub_service.kube import Key
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House

SECONDS = 60.0
RECLAIMED_AFTER = 2


@pytest.fixture
async def soon_reclaimable(cluster: Cluster, installation: Installation) -> AsyncIterator[None]:
    """Kernels with a GPU may be reclaimed after two idle seconds."""
    namespace = installation.namespace
    rules = {"spec": {"culling": {"reclaimAfter": RECLAIMED_AFTER}}}
    await cluster.merge_patch(JUPYTER_KERNEL_SPECS, namespace, "python-gpu", rules)
    yield
    nothing = {"spec": {"culling": None}}
    await cluster.merge_patch(JUPYTER_KERNEL_SPECS, namespace, "python-gpu", nothing)


async def test_two_idle_holders_and_one_newcomer(
    house: House,
    cluster: Cluster,
    namespace: str,
    everywhere: str | None,
    kernels: Reflector,
    images: Images,
    soon_reclaimable: None,
) -> None:
    ends: dict[str, Object] = {}

    def note(key: Key, _old: Object | None, new: Object | None) -> None:
        if new is not None and is_true(new, "Culled"):
            ends[key.name] = condition(new, "Culled") or {}

    kernels.subscribe(note)
    ada, bob, newcomer = [await house.open(name) for name in ("ada", "bob", "grace")]
    others = await gpus_of_the_cluster(cluster) - 2
    async with gpu_pod(cluster, namespace, "others", images.name("kernel"), others):
        long_idle = await ada.start_kernel("python-gpu")
        connection = await house.stack.enter_async_context(ada.connect(long_idle))
        await connection.execute("x = 1")
        short_idle = await bob.start_kernel("python-gpu")
        await bob.run(short_idle, "y = 2")

        # Time goes by, and nobody waits.
        plain = await newcomer.start_kernel("python")
        await newcomer.run(plain, f"import time; time.sleep({RECLAIMED_AFTER + 2})")
        await newcomer.shut_down(plain)
        assert ends == {}
        assert len(await kernels_of(cluster, everywhere, "ada")) == 1

        began = time.monotonic()
        started = await newcomer.start_kernel("python-gpu")
        seconds = time.monotonic() - began
        cell = await newcomer.run(started, "print('mine')")
        print(f"the newcomer's kernel answered {seconds:.2f} s after it was asked for")
        assert cell.text == "mine\n"
        assert seconds < SECONDS

        # That which idled longer has ended, for that reason, and its notebook is told.
        await kernels.wait_for((namespace, f"kernel-{long_idle}"), lambda k: k is None, SECONDS)
        assert list(ends) == [f"kernel-{long_idle}"]
        (end,) = ends.values()
        assert end["reason"] == "Reclaimed"
        assert "another start waits for 1 GPU (nvidia.com/gpu)" in end["message"]
        told = ""
        while "dead" not in told:
            told += str((await connection.receive(timeout=SECONDS))["content"])
        assert "another start waits" in told, told

        # The other one goes on, with its variables.
        assert (await bob.run(short_idle, "print(y)")).text == "2\n"
        (left,) = await kernels_of(cluster, everywhere, "bob")
        assert name_of(left) == f"kernel-{short_idle}"
