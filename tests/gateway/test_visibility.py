"""Kernel specs for some only: others neither see nor start them, whatever they ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hub_service.kinds import JUPYTER_KERNEL_SPECS
from tests.gateway.conftest import Gateway, spec
from tests.gateway.support import Client, server_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMITED = spec("gpu", displayName="GPU", visibility={"groups": ["course"], "users": ["teacher"]})


@pytest_asyncio.fixture(loop_scope="session")
async def limited(gateway: Gateway) -> AsyncIterator[None]:
    await gateway.cluster.create(JUPYTER_KERNEL_SPECS, gateway.namespace, LIMITED)
    try:
        await of_groups(gateway, "teacher").until_listed("gpu", "GPU")
        yield
    finally:
        await gateway.cluster.delete(JUPYTER_KERNEL_SPECS, gateway.namespace, "gpu")


def of_groups(gateway: Gateway, name: str, *groups: str) -> Client:
    """With the token of that user's own server; the hub says that they are in these groups."""
    token = f"token-of-{name}-in-{'-'.join(groups)}"
    gateway.hub.models[token] = {**server_model(name), "groups": list(groups)}
    return Client(gateway.url, token)


async def listed(client: Client) -> set[str]:
    return set((await client.request("GET", "/api/kernelspecs")).body["kernelspecs"])


@pytest.mark.parametrize(("name", "groups"), [("alice", ("staff", "course")), ("teacher", ())])
async def test_who_is_named_sees_and_starts_it(
    gateway: Gateway, limited: None, name: str, groups: tuple[str, ...]
) -> None:
    client = of_groups(gateway, name, *groups)
    assert await listed(client) >= {"python", "gpu"}
    assert (await client.request("GET", "/api/kernelspecs/gpu")).status == 200
    kernel = await client.start("gpu")
    assert gateway.kernels.of(kernel)["spec"]["kernelSpecName"] == "gpu"
    await client.request("DELETE", f"/api/kernels/{kernel}")


@pytest.mark.parametrize(
    ("name", "groups"),
    [("mallory", ()), ("mallory", ("staff", "cours", "teacher")), ("Teacher", ())],
)
async def test_for_others_it_is_as_if_there_were_none(
    gateway: Gateway, limited: None, name: str, groups: tuple[str, ...]
) -> None:
    client = of_groups(gateway, name, *groups)
    names = await listed(client)
    assert ("python" in names, "gpu" in names) == (True, False)
    for path in ("/api/kernelspecs/gpu", f"/api/kernelspecs?user={name}/gpu"):
        assert (await client.request("GET", path)).status == 404, path
    for wanted in ("gpu", "gpu--size-large"):
        env = {"KERNEL_USERNAME": "teacher", "KERNEL_GROUPS": "course"}
        answer = await client.request("POST", "/api/kernels", {"name": wanted, "env": env})
        assert (answer.status, answer.body["reason"]) == (404, "NoSuchKernelSpec")
        assert "python" in answer.body["message"].partition("there are: ")[2]
        assert "gpu," not in answer.body["message"]
    made = [k for k in gateway.kernels.cache.store if k["spec"]["owner"] == name]
    assert made == []


async def test_who_leaves_a_group_no_longer_sees_it(gateway: Gateway, limited: None) -> None:
    """At the latest when the hub is asked again; here, with another token, at once."""
    assert "gpu" in await listed(of_groups(gateway, "alice", "course"))
    assert "gpu" not in await listed(of_groups(gateway, "alice"))


async def test_a_default_that_one_may_not_use_is_none(gateway: Gateway, limited: None) -> None:
    """Who starts a kernel without a name gets one that is theirs to start."""
    client = of_groups(gateway, "mallory")
    kernel = (await client.request("POST", "/api/kernels", {})).body["id"]
    assert gateway.kernels.of(kernel)["spec"]["kernelSpecName"] == "python"
    await client.request("DELETE", f"/api/kernels/{kernel}")
