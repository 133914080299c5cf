"""A cull that is told in time: a warning, a wish to keep the kernel, an end that is explained."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import Any

import pytest

from demo.client import Person, RequestFailedError
from demo.connection import Connection
from demo.install import kubectl
from demo.observe import idle_since, kernels_of
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNELS, Object
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, gpus_become, until_listed

SECONDS = 60.0


async def write_rules(cluster: Cluster, spec: str, rules: Object | None) -> None:
    """Rules for the ends of a spec's kernels, those that run included."""
    body = {"spec": {"culling": rules}}
    await cluster.merge_patch(JUPYTER_KERNEL_SPECS, "jupyter-users", spec, body)


async def until(connection: Connection, kind: str) -> dict[str, Any]:
    """The next message of a type that the notebook is sent."""
    while True:
        message = await connection.receive(timeout=SECONDS)
        if message["msg_type"] == kind:
            return message


async def listed(person: Person, name: str) -> Object:
    """What the service's API says of the end of a kernel."""
    models = await person.service("api/kernels")
    (model,) = [model for model in models if model["name"] == name]
    culling: Object = model["culling"]
    return culling


@pytest.mark.one_mode
async def test_a_user_is_warned_keeps_the_kernel_and_is_told_of_its_end(
    house: House, cluster: Cluster, namespace: str, everywhere: str | None, kernels: Reflector
) -> None:
    person = await house.open("ada")
    stays = await person.start_kernel("python")
    goes = await person.start_kernel("python-gpu")
    name = f"kernel-{goes}"
    assert (
        "after 2 h idle (by the settings' culling.cpu)"
        in (await listed(person, f"kernel-{stays}"))["rule"]
    )
    assert (
        "after 30 min idle (by the settings' culling.gpu)" in (await listed(person, name))["rule"]
    )
    rules = {"idleTimeout": 6, "warning": 3, "extension": 4, "extensions": 1, "reclaimAfter": 0}
    try:
        async with person.connect(stays) as other, person.connect(goes) as connection:
            await other.execute("x = 1")
            cell = await connection.submit("x = 1")
            await connection.result(cell)
            await write_rules(cluster, "python-gpu", rules)

            warned = await until(connection, "display_data")
            assert warned["parent_header"]["msg_id"] == cell
            text = warned["content"]["data"]["text/plain"]
            assert "This kernel ends at" in text
            assert "/services/elastic/" in text
            noted = await listed(person, name)
            assert noted["warned_at"]
            assert "idle" in noted["message"]
            deadline = datetime.fromisoformat(noted["deadline"])

            kept = await person.keep(name)
            until_then = datetime.fromisoformat(kept["kept_until"])
            assert (until_then - deadline).total_seconds() == pytest.approx(4, abs=0.1)
            assert kept["extensions_left"] == 0
            updated = await until(connection, "update_display_data")
            assert "is kept until" in updated["content"]["data"]["text/plain"]
            with pytest.raises(RequestFailedError) as refused:
                await person.keep(name)
            assert refused.value.status == 409
            assert "1 times at most (by JupyterKernelSpec python-gpu)" in refused.value.message

            told = await until(connection, "stream")
            assert time.time() >= until_then.timestamp()
            assert told["parent_header"]["msg_id"] == cell
            assert "This kernel was ended because it had been idle" in told["content"]["text"]
            await kernels.wait_for((namespace, name), lambda item: item is None, SECONDS)
            # The other kernel is of another time-out.
            assert (await other.execute("print(x)")).text == "1\n"
        events = json.loads(kubectl("-n", namespace, "get", "events", "-o", "json"))["items"]
        said = [e["reason"] for e in events if e["involvedObject"]["name"] == name]
        assert said.count("CullWarning") == 2, said
        assert "Idle" in said
        (left,) = await kernels_of(cluster, namespace, "ada")
        assert left["spec"]["kernelSpecName"] == "python"
    finally:
        await write_rules(cluster, "python-gpu", None)
    await gpus_become(0, cluster, everywhere)


@pytest.mark.one_mode
async def test_a_session_is_saved_before_and_restored_in_a_new_kernel(
    house: House, cluster: Cluster, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    specs, saved = "jupyter-users", "python-saved"
    spec = (await cluster.get(JUPYTER_KERNEL_SPECS, specs, "python"))["spec"]
    hook = {"code": "import elastic_session; elastic_session.save()"}
    body = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": saved},
        "spec": {**spec, "beforeCull": hook},
    }
    await cluster.create(JUPYTER_KERNEL_SPECS, specs, body)
    try:
        await until_listed(person, lambda listed: saved in listed)
        first = await person.start_kernel(saved)
        key = (namespace, f"kernel-{first}")
        async with person.connect(first) as connection:
            await connection.execute("answer = {'half': 21}\ndef double(x):\n    return 2 * x")
            await cluster.merge_patch(JUPYTER_KERNELS, *key, {"spec": {"cullIdleTimeout": 2}})
            told = (await until(connection, "stream"))["content"]["text"]
            assert "2 variables saved to /home/jovyan/" in told, told
        await kernels.wait_for(key, lambda item: item is None, SECONDS)
        second = await person.start_kernel("python")
        code = "import elastic_session; elastic_session.restore(); print(double(answer['half']))"
        cell = await person.run(second, code)
        assert cell.status == "ok", cell
        assert cell.text.endswith("42\n"), cell
    finally:
        await cluster.delete(JUPYTER_KERNEL_SPECS, specs, saved)


TRIES = 50
TIMEOUT = 2


@pytest.mark.long
@pytest.mark.one_mode
async def test_a_cell_that_begins_in_the_last_second_survives(
    house: House, cluster: Cluster, namespace: str, kernels: Reflector
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python-gpu")
    key = (namespace, f"kernel-{kernel}")
    lost: list[str] = []
    async with person.connect(kernel) as connection:
        await connection.execute("import time")
        patch = {"spec": {"cullIdleTimeout": TIMEOUT}}
        await connection.execute("tries = 0")
        await cluster.merge_patch(JUPYTER_KERNELS, *key, patch)
        for number in range(TRIES):
            done = time.time() - 0.5
            idle = await kernels.wait_for(key, lambda item, done=done: idle_since(item) > done, 30)
            # From a second before the deadline to a twentieth of one.
            begin = idle_since(idle) + TIMEOUT - 1 + 0.95 * number / (TRIES - 1)
            await asyncio.sleep(begin - time.time())  # the very moment is what is tested
            # Every other one works past the deadline.
            cell = await connection.execute(
                f"time.sleep({1.2 if number % 2 else 0}); tries += 1; print(tries)"
            )
            if cell.text != f"{number + 1}\n":
                lost.append(f"{number}: {cell}")
        # It was no less in force for that.
        await kernels.wait_for(key, lambda item: item is None, SECONDS)
    print(json.dumps({"cells_begun_in_the_last_second": TRIES, "survived": TRIES - len(lost)}))
    assert lost == []
