"""The gateway as notebooks meet it: starting, using, restarting and ending kernels."""

from __future__ import annotations

import asyncio
import base64
import json
from itertools import chain

import pytest

from hub_service import kinds
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNELS, SECRETS
from hub_service.kube import Reflector, key_of
from tests.gateway.conftest import Gateway, spec
from tests.gateway.support import DEADLINE, V1, says

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_kernel_runs_cells_and_leaves_nothing(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    for protocol in ("", V1):
        async with alice.channels(kernel, protocol) as channels:
            assert await channels.run("print(1 + 1)") == "2\n"
    resource = gateway.kernels.of(kernel)
    secret = await gateway.cluster.get(SECRETS, gateway.namespace, f"kernel-{kernel}")
    connection = json.loads(base64.b64decode(secret["data"][kinds.CONNECTION_KEY]))

    assert resource["spec"]["owner"] == "alice"
    assert resource["spec"]["server"] == ""
    assert resource["spec"]["kernelSpecName"] == "python"
    assert resource["metadata"]["labels"][kinds.LABEL_GATEWAY] == "shared"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == kinds.uid_of(resource)
    assert connection["key"] not in json.dumps(resource)

    assert (await alice.request("DELETE", f"/api/kernels/{kernel}")).status == 204

    await gateway.kernels.until(kernel, lambda item: item is None)
    assert (await alice.request("GET", f"/api/kernels/{kernel}")).status == 404
    assert (await alice.request("DELETE", f"/api/kernels/{kernel}")).status == 404


async def test_the_state_is_known_and_reported_without_any_client(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()

    def activity(item: kinds.Object | None) -> kinds.Object:
        return kinds.status_of(item or {}).get("activity") or {}

    await gateway.kernels.until(kernel, lambda i: activity(i).get("executionState") == "idle")
    assert await alice.state(kernel) == "idle"
    assert activity(gateway.kernels.of(kernel))["connections"] == 0
    async with alice.channels(kernel) as channels:
        cell = await channels.execute("import time; time.sleep(1.5)")
        await gateway.kernels.until(kernel, lambda i: activity(i).get("executionState") == "busy")
        assert "idleSince" not in activity(gateway.kernels.of(kernel))
        assert activity(gateway.kernels.of(kernel))["connections"] == 1
        await channels.result(cell)
        await gateway.kernels.until(kernel, lambda i: activity(i).get("executionState") == "idle")
    await gateway.kernels.until(kernel, lambda i: activity(i).get("connections") == 0)
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_cell_is_interrupted_while_an_interrupt_is_no_idleness(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        cell = await channels.execute(
            "import time\n"
            "try:\n    print('on it', flush=True); time.sleep(600)\n"
            "except KeyboardInterrupt:\n    print('caught', flush=True); time.sleep(1); raise"
        )
        await channels.until(lambda m: m["content"].get("text", "").startswith("on it"))

        answer = await alice.request("POST", f"/api/kernels/{kernel}/interrupt")

        assert answer.status == 204
        await channels.until(lambda m: m["content"].get("text", "").startswith("caught"))
        assert await alice.state(kernel) == "busy"
        reply, _ = await channels.result(cell)
        assert reply["ename"] == "KeyboardInterrupt"
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_kernel_that_takes_no_interrupt_message_gets_a_signal(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    await gateway.cluster.create(
        JUPYTER_KERNEL_SPECS, gateway.namespace, spec("by-signal", interruptMode="signal")
    )
    await alice.until_listed("by-signal", "Python")
    kernel = await alice.start("by-signal")
    async with alice.channels(kernel) as channels:
        for _ in range(2):
            cell = await channels.execute("import time; print('on it'); time.sleep(600)")
            await channels.until(lambda m: m["content"].get("text", "").startswith("on it"))
            answer = await alice.request("POST", f"/api/kernels/{kernel}/interrupt")
            assert answer.status == 204
            reply, _ = await channels.result(cell)
            assert reply["ename"] == "KeyboardInterrupt"
    gateway.kernels.deaf["alice"] = "There is no sh in it."
    try:
        answer = await alice.request("POST", f"/api/kernels/{kernel}/interrupt")
    finally:
        del gateway.kernels.deaf["alice"]
    assert answer.status == 409
    assert answer.body == {"message": "There is no sh in it.", "reason": "NotInterrupted"}
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_kernel_keeps_what_it_was_started_from(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    cluster, namespace = gateway.cluster, gateway.namespace
    env = [{"name": "COLOUR", "value": "red"}]
    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec("passing", env=env))
    print_it = "import os; print(os.environ['COLOUR'])"
    await alice.until_listed("passing", "Python")
    first = await alice.start("passing")
    template = {"name": "plain", "namespace": namespace}
    assert gateway.kernels.of(first)["spec"]["kernelTemplate"] == template

    blue = {"displayName": "Blue", "env": [{"name": "COLOUR", "value": "blue"}]}
    await cluster.merge_patch(JUPYTER_KERNEL_SPECS, namespace, "passing", {"spec": blue})
    await alice.until_listed("passing", "Blue")
    second = await alice.start("passing")
    async with alice.channels(second) as channels:
        assert await channels.run(print_it) == "blue\n"
    await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, "passing")

    async with alice.channels(first) as channels:
        assert await channels.run(print_it) == "red\n"
        answer = await alice.request("POST", f"/api/kernels/{first}/restart")
        assert answer.status == 200
        assert await channels.run(print_it) == "red\n"
    for kernel in (first, second):
        await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_client_that_connects_twice_at_once_is_served_on_one_of_them(
    gateway: Gateway,
) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()

    async def run() -> str:
        async with alice.channels(kernel, session="one") as channels:
            return await channels.run("print('served')")

    results = await asyncio.gather(*(run() for _ in range(3)), return_exceptions=True)

    assert "served\n" in results, results
    async with alice.channels(kernel, session="one") as channels:
        assert await channels.run("print('and again')") == "and again\n"
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_killed_kernel_says_why_in_its_cell_and_is_restarted_by_its_user(
    gateway: Gateway,
) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await channels.run("1")
        cell = await channels.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        seen = await channels.until(says("dead"))

        (said,) = [m for m in seen if m["msg_type"] == "stream"]
        assert said["parent_header"]["msg_id"] == cell
        assert "out of memory" in said["content"]["text"]  # what exit by SIGKILL stands for here
        model = (await alice.request("GET", f"/api/kernels/{kernel}")).body
        assert model["execution_state"] == "dead"
        assert "out of memory" in model["reason"]
        assert (
            "The running cell did not finish, and the kernel's variables are lost"
            in model["reason"]
        )
        reply, text = await channels.result(await channels.execute("1"))
        assert (reply["status"], "out of memory" in text) == ("error", True)

        answer = await alice.request("POST", f"/api/kernels/{kernel}/restart")

        assert answer.status == 200, answer
        assert await channels.run("print('back')") == "back\n"
    assert await alice.state(kernel) == "idle"
    await alice.request("DELETE", f"/api/kernels/{kernel}")


async def test_what_comes_to_a_dead_kernels_address_is_not_heard(gateway: Gateway) -> None:
    alice, bob = gateway.client("alice"), gateway.client("bob")
    first = await alice.start()
    address = kinds.status_of(gateway.kernels.of(first))["podIP"]
    async with alice.channels(first, V1) as old:  # messages pass unread: no signature is checked
        await old.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        await old.until(says("dead"))
        gateway.kernels.addresses = chain([address], gateway.kernels.addresses)
        second = await bob.start()
        assert kinds.status_of(gateway.kernels.of(second))["podIP"] == address
        async with bob.channels(second) as channels:
            assert await channels.run("print('private')") == "private\n"

        request = await old.execute("1")

        heard = await old.until(lambda m: m["parent_header"].get("msg_id") == request)
        assert "private" not in json.dumps(heard)
    for client, kernel in ((alice, first), (bob, second)):
        await client.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_kernel_whose_resource_was_deleted_is_dead_for_good(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        await gateway.cluster.delete(JUPYTER_KERNELS, gateway.namespace, f"kernel-{kernel}")
        await channels.until(says("dead"))
    answer = await alice.request("POST", f"/api/kernels/{kernel}/restart")
    assert (answer.status, answer.body["reason"]) == (409, "KernelGone")
    assert (await alice.request("DELETE", f"/api/kernels/{kernel}")).status == 204


async def test_a_refusal_reaches_the_user_in_words_and_leaves_nothing(gateway: Gateway) -> None:
    greedy = gateway.client("greedy")
    gateway.kernels.refuse["greedy"] = "Kernel quota reached: 100% of 2 kernels run."

    answer = await greedy.request("POST", "/api/kernels", {"name": "python"})

    assert answer.status == 403
    assert answer.body == {
        "message": "Kernel quota reached: 100% of 2 kernels run.",
        "reason": "QuotaExceeded",
    }
    await no_kernels_of(gateway, "greedy")


async def test_a_kernel_that_runs_and_never_answers_ends_with_a_sentence(gateway: Gateway) -> None:
    patient = gateway.client("patient")
    gateway.kernels.mute.add("patient")

    answer = await patient.request(
        "POST", "/api/kernels", {"name": "python", "env": {"KERNEL_LAUNCH_TIMEOUT": "0.5"}}
    )

    assert (answer.status, answer.body["reason"]) == (504, "StartTimeout")
    assert "container runs" in answer.body["message"]
    await no_kernels_of(gateway, "patient")


async def test_a_start_that_nobody_waits_for_any_longer_leaves_nothing(gateway: Gateway) -> None:
    hasty = gateway.client("hasty")
    gateway.kernels.hold.add("hasty")
    created = asyncio.Event()
    gateway.kernels.cache.subscribe(
        lambda _, __, new: created.set() if new and new["spec"]["owner"] == "hasty" else None
    )
    _, client = await asyncio.open_connection("127.0.0.1", gateway.port)
    request = (
        "POST /api/kernels HTTP/1.1\r\nHost: gateway\r\nContent-Length: 18\r\n"
        f'Authorization: {hasty.authorization}\r\n\r\n{{"name": "python"}}'
    )
    client.write(request.encode())
    await asyncio.wait_for(created.wait(), DEADLINE)

    client.close()

    async with asyncio.timeout(10):  # well before the start's own time is over
        await no_kernels_of(gateway, "hasty")


async def test_overlapping_starts_keep_their_environments(gateway: Gateway) -> None:
    people = {name: gateway.client(name) for name in ("ann", "ben", "cleo")}

    ids = await asyncio.gather(
        *(person.start(KERNEL_COLOUR=f"of {name}") for name, person in people.items())
    )

    for (name, person), kernel in zip(people.items(), ids, strict=True):
        async with person.channels(kernel) as channels:
            code = "import os; print(os.environ['KERNEL_USERNAME'], os.environ['KERNEL_COLOUR'])"
            assert await channels.run(code) == f"{name} of {name}\n"
        await person.request("DELETE", f"/api/kernels/{kernel}")


async def test_a_client_chooses_nothing_that_matters(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    known_elsewhere = {
        "KERNEL_ID": "11111111-1111-4111-8111-111111111111",
        "KERNEL_USERNAME": "root",
        "KERNEL_IMAGE": "evil",
        "KERNEL_NAMESPACE": "kube-system",
        "KERNEL_SERVICE_ACCOUNT_NAME": "admin",
    }
    for name, value in known_elsewhere.items():
        body = {"name": "python", "env": {name: value}}
        answer = await alice.request("POST", "/api/kernels", body)
        assert (answer.status, f"env.{name}" in answer.body["message"]) == (400, True)

    env = {"KERNEL_UNDECLARED": "x", "LD_PRELOAD": "/evil.so", "KERNEL_COLOUR": "$(PATH) blue"}
    wanted = known_elsewhere["KERNEL_ID"]
    body = {"name": "python", "env": env, "kernel_id": wanted, "path": "/etc"}
    answer = await alice.request("POST", "/api/kernels", body)

    kernel = answer.body["id"]
    assert kernel != wanted
    resource = gateway.kernels.of(kernel)
    (container,) = resource["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment == {
        "KERNEL_ID": kernel,
        "KERNEL_USERNAME": "alice",
        "KERNEL_LANGUAGE": "python",
        "KERNEL_COLOUR": "$$(PATH) blue",  # doubled: Kubernetes takes it as text
    }
    assert container["image"] == "kernel"
    assert kinds.namespace_of(resource) == gateway.namespace
    assert "serviceAccountName" not in resource["spec"]["template"]["spec"]
    await alice.request("DELETE", f"/api/kernels/{kernel}")


@pytest.mark.parametrize("name", ["root", "a@b.org", "zoë", "l" + "o" * 66 + "ng"])
async def test_any_user_name_works(gateway: Gateway, name: str) -> None:
    person = gateway.client(name)
    kernel = await person.start()
    async with person.channels(kernel) as channels:
        code = "import os; print(os.environ['KERNEL_USERNAME'])"
        assert await channels.run(code) == f"{name}\n"
    assert gateway.kernels.of(kernel)["spec"]["owner"] == name
    await person.request("DELETE", f"/api/kernels/{kernel}")


async def no_kernels_of(gateway: Gateway, owner: str) -> None:
    for item in list(gateway.kernels.cache.store):
        if item["spec"]["owner"] == owner:
            await gateway.kernels.until(item["spec"]["kernelID"], lambda i: i is None)
    secrets = Reflector(
        gateway.cluster,
        SECRETS,
        gateway.namespace,
        label_selector=f"{kinds.LABEL_OWNER}={owner}",
    )
    watch = asyncio.create_task(secrets.run())
    await secrets.synced(DEADLINE)
    for secret in secrets.store:
        await secrets.wait_for(key_of(secret), lambda item: item is None, DEADLINE)
    watch.cancel()
