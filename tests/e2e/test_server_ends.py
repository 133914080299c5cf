"""What becomes of kernels when their notebook server ends, and how the next one finds them."""

from __future__ import annotations

import asyncio

import pytest

from demo.client import Person, RequestFailedError
from demo.install import kubectl
from demo.observe import kernels_of
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, in_hub

SECONDS = 90.0
NOTEBOOK = "work/digits.ipynb"


async def lose_the_pod(person: Person, namespace: str) -> None:
    """The notebook's pod goes, as from a node that is drained; returns when the hub knows."""
    pods = ("-l", f"hub.jupyter.org/username={person.name}")
    await asyncio.to_thread(kubectl, "-n", namespace, "delete", "pod", *pods, "--wait")
    async with asyncio.timeout(SECONDS):
        while (await person.user())["servers"]:
            # A request to stop makes the hub look; it finds nothing there to stop.
            await person.stop_server(timeout=SECONDS)


async def test_a_new_pod_finds_the_kernels_of_the_lost_one(
    house: House, cluster: Cluster, namespace: str
) -> None:
    person = await house.open("ada")
    kernel = await person.open_notebook(NOTEBOOK, "python")
    assert (await person.run(kernel, "x = 41")).status == "ok"
    (session,) = await person.sessions()

    await lose_the_pod(person, namespace)

    assert len(await kernels_of(cluster, namespace, "ada")) == 1
    await person.start_server()
    assert await person.sessions() == [{**session, "kernel": (await person.kernels())[0]}]
    assert await person.open_notebook(NOTEBOOK, "python") == kernel
    assert (await person.run(kernel, "print(x + 1)")).text == "42\n"
    assert len(await kernels_of(cluster, namespace, "ada")) == 1


async def test_a_server_that_is_stopped_ends_its_kernels(
    house: House, kernels: Reflector, namespace: str
) -> None:
    person = await house.open("ada")
    kernel = await person.open_notebook(NOTEBOOK, "python")
    key = (namespace, f"kernel-{kernel}")
    await kernels.wait_for(key, lambda item: item is not None, SECONDS)

    await person.stop_server()

    await kernels.wait_for(key, lambda item: item is None, SECONDS)
    await person.start_server()
    assert await person.sessions() == []


async def test_a_refused_kernel_is_refused_in_our_words(house: House) -> None:
    person = await house.open("ada")
    for _ in range(2):
        await person.start_kernel("python")

    for start in (person.start_kernel("python"), person.open_notebook(NOTEBOOK, "python")):
        with pytest.raises(RequestFailedError) as refused:
            await start
        assert refused.value.message.startswith("Kernel quota reached: ada may have 2 kernels")
    assert (await person.kernelspec("python"))["name"] == "python"


@pytest.mark.long
async def test_the_hubs_idle_culler_ends_servers_whose_kernels_do_nothing(house: House) -> None:
    """As the chart runs it, but for its seconds; the service tells the hub once a minute."""
    busy, idle = await house.open("ada"), await house.open("ben")
    admin = await house.enter("admin")
    await admin.login()
    token = await admin.api_token(
        "list:users", "read:users:activity", "read:servers", "delete:servers"
    )
    kernel = await busy.start_kernel("python")
    async with busy.connect(kernel) as connection:
        await connection.submit("import time\nprint('on it')\ntime.sleep(600)")
        said = ""
        while "on it" not in said:
            said = str((await connection.receive(timeout=SECONDS))["content"].get("text"))
    # From here on nobody is connected, and nothing but the kernel is at work.
    culler = "/opt/venv/bin/python -m jupyterhub_idle_culler --timeout=75 --cull-every=5"
    run = f"timeout 100 {culler} --url=http://127.0.0.1:8081/hub/api || test $? = 124"
    await asyncio.to_thread(in_hub, "env", f"JUPYTERHUB_API_TOKEN={token}", "sh", "-c", run)

    assert not await idle.has_server()
    assert await busy.has_server()
    assert [model["id"] for model in await busy.kernels()] == [kernel]
