"""Kernelspecs are resources: added, changed and removed while everybody works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from demo.client import Person
from demo.install import Images
from hub_service.kinds import JUPYTER_KERNEL_SPECS, PODS, uid_of
from hub_service.kube.client import Cluster
from tests.e2e.support import House

# What the product promises, from the change to the list in the notebook server.
PROMISED_SECONDS = 2.0
NAME = "added-later"


async def until_listed(person: Person, wanted: Callable[[dict[str, Any]], bool]) -> float:
    """Ask the notebook server, as JupyterLab does, until the list is as wanted; seconds it took."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        while not wanted((await person.kernelspecs())["kernelspecs"]):
            pass
    return time.monotonic() - started


async def test_a_spec_is_added_used_changed_and_removed_at_run_time(
    house: House, cluster: Cluster, namespace: str, images: Images
) -> None:
    person = await house.open("ada")
    specs = await person.kernelspecs()
    assert set(specs["kernelspecs"]) == {"python", "python-gpu", "r"}
    gateways = await cluster.list(PODS, namespace, "app.kubernetes.io/component=gateway")
    body = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": NAME},
        "spec": {
            "language": "python",
            "displayName": "Added later",
            "image": images.name("kernel"),
            "env": [{"name": "GREETING", "value": "hello"}],
        },
    }

    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, body)
    try:
        added = await until_listed(person, lambda listed: NAME in listed)
        kernel = await person.start_kernel(NAME)
        cell = await person.run(kernel, "import os; print(os.environ['GREETING'])")
        assert cell.text == "hello\n"

        patch = {"spec": {"displayName": "Changed"}}
        await cluster.merge_patch(JUPYTER_KERNEL_SPECS, namespace, NAME, patch)
        changed = await until_listed(
            person, lambda listed: listed[NAME]["spec"]["display_name"] == "Changed"
        )
    finally:
        await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, NAME)
    removed = await until_listed(person, lambda listed: NAME not in listed)

    print(f"listed after {added:.2f} s, changed {changed:.2f} s, removed {removed:.2f} s")
    assert max(added, changed, removed) < PROMISED_SECONDS
    assert (await person.run(kernel, "print('still works')")).text == "still works\n"
    after = await cluster.list(PODS, namespace, "app.kubernetes.io/component=gateway")
    assert [uid_of(p) for p in after["items"]] == [uid_of(p) for p in gateways["items"]]
