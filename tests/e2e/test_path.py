"""Login → notebook without a GPU → a kernel with one → work → gone again."""

from __future__ import annotations

import asyncio
import json

import pytest

from demo.connection import Connection
from demo.install import kubectl
from demo.observe import gpus_in_use, gpus_of, kernels_of
from hub_service.kinds import PODS, Object, status_of
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, OneKernel, gpus_become

SECONDS = 60.0


async def notebook_pod(cluster: Cluster, namespace: str, user: str, server: str = "") -> Object:
    pods = await cluster.list(PODS, namespace, "component=singleuser-server")
    found: list[Object] = []
    for pod in pods["items"]:
        notes = pod["metadata"]["annotations"]
        named = notes["hub.jupyter.org/username"], notes.get("hub.jupyter.org/servername", "")
        if named == (user, server):
            found.append(pod)
    (one,) = found
    return one


@pytest.mark.both_modes
async def test_a_notebook_holds_no_gpu_and_a_kernel_holds_one(
    house: House, cluster: Cluster, namespace: str, everywhere: str | None, kernel_of: OneKernel
) -> None:
    person, log = await house.start_anew("ada")

    pod = await notebook_pod(cluster, namespace, "ada")
    for container in [*pod["spec"]["containers"], *pod["spec"]["initContainers"]]:
        assert "nvidia.com/gpu" not in container.get("resources", {}).get("limits", {})
        assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]
    assert [c["name"] for c in pod["spec"]["containers"]] == ["notebook", "sidecar"]
    assert await gpus_in_use(cluster, everywhere) == 0
    assert any("Notebooks hold no GPU" in line and "sidecar" in line for line in log), log

    kernel = await person.start_kernel("python-gpu")
    cell = await person.run(kernel, "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])")

    assert cell.status == "ok", cell
    assert cell.text.startswith("GPU-"), cell
    assert await gpus_in_use(cluster, everywhere) == 1
    resource = await kernel_of("ada")
    assert resource["spec"]["owner"] == "ada"
    assert status_of(resource)["phase"] == "Running"
    assert status_of(resource)["gpus"] == 1

    await person.shut_down(kernel)

    assert await kernels_of(cluster, namespace, "ada") == []


@pytest.mark.both_modes
async def test_a_kernel_interrupts_restarts_and_ends(
    house: House,
    cluster: Cluster,
    namespace: str,
    everywhere: str | None,
    kernels: Reflector,
    kernel_of: OneKernel,
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python-gpu")
    name = (namespace, f"kernel-{kernel}")

    async with person.connect(kernel) as connection:
        assert (await connection.execute("x = 41")).status == "ok"
        running = await connection.submit("import time\nprint('on it')\ntime.sleep(600)")
        await _until_printed(connection, "on it")
        await person.interrupt(kernel)
        interrupted = await connection.result(running)
        assert interrupted.error.startswith("KeyboardInterrupt")
        assert (await connection.execute("print(x + 1)")).text == "42\n"

    await person.restart(kernel)

    again = await person.run(kernel, "print('x' in globals())")
    assert again.text == "False\n"
    assert [model["id"] for model in await person.kernels()] == [kernel]
    assert await gpus_in_use(cluster, everywhere) == 1
    assert len(await kernels_of(cluster, namespace, "ada")) == 1

    await person.shut_down(kernel)

    await kernels.wait_for(name, lambda item: item is None, SECONDS)
    assert await person.kernels() == []
    await gpus_become(0, cluster, everywhere)


@pytest.mark.both_modes
async def test_stopping_the_server_ends_its_kernels_and_no_others(
    house: House, cluster: Cluster, namespace: str, everywhere: str | None, kernels: Reflector
) -> None:
    ada, grace = await house.open("ada"), await house.open("grace")
    first, second = await ada.start_kernel("python-gpu"), await grace.start_kernel("python-gpu")
    assert await gpus_in_use(cluster, everywhere) == 2

    await ada.stop_server()

    await kernels.wait_for((namespace, f"kernel-{first}"), lambda item: item is None, SECONDS)
    assert (await grace.run(second, "print('still here')")).text == "still here\n"
    await gpus_become(1, cluster, everywhere)


@pytest.mark.both_modes
async def test_named_servers_profiles_volumes_and_hooks_work_as_with_kubespawner(
    house: House, cluster: Cluster, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    first = await person.start_kernel("python")
    house.stack.push_async_callback(person.stop_server, server="second")
    log = await person.start_server(server="second", profile="greedy")
    assert any("nvidia.com/gpu: 2 of container notebook" in line for line in log), log

    pod = await notebook_pod(cluster, namespace, "ada", "second")
    assert gpus_of(pod) == 0
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"][:1]]
    assert claims == ["home-ada--second"]
    hooked = ("exec", pod["metadata"]["name"], "-c", "notebook", "--", "ls", "/tmp/hooked")
    assert await asyncio.to_thread(kubectl, "-n", namespace, *hooked) == "/tmp/hooked\n"

    second = await person.start_kernel("python", server="second")
    async with person.connect(second, server="second") as connection:
        assert (await connection.execute("print('here')")).text == "here\n"
    key = (namespace, f"kernel-{second}")
    resource = await kernels.wait_for(key, lambda item: item is not None, SECONDS)
    assert resource is not None
    assert resource["spec"]["server"] == "second"

    await person.stop_server(server="second")

    await kernels.wait_for(key, lambda item: item is None, SECONDS)
    assert (await person.run(first, "print('and here')")).text == "and here\n"


async def test_a_kernels_environment_holds_nothing_of_the_gateway(house: House) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel(
        "python",
        env={
            "KERNEL_USERNAME": "grace",
            "KERNEL_IMAGE": "elsewhere:1",
            "KERNEL_NAMESPACE": "kube-system",
            "KERNEL_SERVICE_ACCOUNT_NAME": "hub",
            "KERNEL_ID": "00000000-0000-0000-0000-000000000000",
            "KERNEL_UNDECLARED": "x",
        },
    )

    cell = await person.run(kernel, "import os, json; print(json.dumps(dict(os.environ)))")

    environment = json.loads(cell.text)
    assert environment["KERNEL_USERNAME"] == "ada"
    assert kernel != "00000000-0000-0000-0000-000000000000"
    for name in environment:
        assert not name.startswith(("EG_", "ELASTIC_", "JUPYTERHUB_", "JUPYTER_GATEWAY_")), name
    for name in ("KERNEL_IMAGE", "KERNEL_NAMESPACE", "KERNEL_UNDECLARED"):
        assert name not in environment


async def _until_printed(connection: Connection, text: str) -> None:
    while True:
        message = await connection.receive(timeout=SECONDS)
        if message["content"].get("text", "").strip() == text:
            return
