"""A running gateway follows its JupyterGateway, and the kernels go on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hub_service.kinds import JUPYTER_GATEWAYS, JUPYTER_KERNEL_SPECS, spec_of
from tests.gateway.conftest import Gateway, spec
from tests.gateway.support import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await ask():
            pass


async def change(gateway: Gateway, part: str, **fields: Any) -> None:
    await gateway.cluster.merge_patch(
        JUPYTER_GATEWAYS,
        gateway.namespace,
        "shared",
        {part: fields},
        subresource="status" if part == "status" else None,
    )


async def test_kernels_default_and_owner_change_while_a_kernel_runs(gateway: Gateway) -> None:
    alice, grace = gateway.client("alice"), gateway.client("grace")
    kernel = await alice.start()
    await gateway.cluster.create(JUPYTER_KERNEL_SPECS, gateway.namespace, spec("zz"))

    async def offers_both() -> bool:
        body = (await alice.request("GET", "/api/kernelspecs")).body
        return {"python", "zz"} <= body["kernelspecs"].keys() and body["default"] == "python"

    async def offers_one() -> bool:
        body = (await alice.request("GET", "/api/kernelspecs")).body
        return set(body["kernelspecs"]) == {"zz"} and body["default"] == "zz"

    async with alice.channels(kernel) as channels:
        await channels.run("x = 41")
        await until(offers_both)
        await change(gateway, "spec", kernels=["zz"], defaultKernel="zz")
        await until(offers_one)
        await change(gateway, "spec", kernels=None, defaultKernel="python", owner="alice")

        async def refused() -> bool:
            return (await grace.request("GET", "/api/kernels")).status == 403

        await until(refused)
        assert await channels.run("print(x + 1)") == "42\n"
    await change(gateway, "spec", owner=None)
    await until(offers_both)
    await alice.request("DELETE", f"/api/kernels/{kernel}")
    await gateway.cluster.delete(JUPYTER_KERNEL_SPECS, gateway.namespace, "zz")


async def test_a_listed_notebook_starts_kernels_without_the_hub(gateway: Gateway) -> None:
    token = "of-a-notebook"
    notebook = Client(gateway.url, token)
    assert (await notebook.request("GET", "/api/kernels")).status == 403
    entry = {
        "name": "nb",
        "namespace": "labs",
        "owner": "notebook/labs/nb",
        "tokenHash": hashlib.sha256(token.encode()).hexdigest(),
    }
    service_token = "of-the-service"
    digest = hashlib.sha256(service_token.encode()).hexdigest()
    await change(gateway, "status", notebooks=[entry], serviceTokenHash=digest)

    async def known() -> bool:
        return (await notebook.request("GET", "/api/kernels")).status == 200

    await until(known)
    asked = len(gateway.hub.asked)
    kernel = await notebook.start()
    async with notebook.channels(kernel) as channels:
        assert await channels.run("print('here')") == "here\n"
    made = spec_of(gateway.kernels.of(kernel))
    assert made["owner"] == "notebook/labs/nb"
    assert made["notebook"] == {"name": "nb", "namespace": "labs"}
    assert "server" not in made
    assert len(gateway.hub.asked) == asked
    # The service is known in the same way, for its own endpoint only.
    service = Client(gateway.url, service_token)
    assert (await service.request("GET", "/api/kernels")).status == 403
    cull = f"/api/kernels/{kernel}/cull"
    answer = await service.request("POST", cull, {"idle_before": "2026-01-01T00:00:00Z"})
    assert (answer.status, answer.body["sealed"]) == (409, False)

    await notebook.request("DELETE", f"/api/kernels/{kernel}")
    await change(gateway, "status", notebooks=None, serviceTokenHash=None)

    async def refused() -> bool:
        return (await notebook.request("GET", "/api/kernels")).status == 403

    await until(refused)
