"""The gateway as notebooks and the hub service meet it."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_kernel_runs_cells(gateway: Gateway) -> None:
    alice = gateway.client("alice")
    kernel = await alice.start()
    async with alice.channels(kernel) as channels:
        assert await channels.run("print(1 + 1)") == "2\n"
    assert (await alice.request("DELETE", f"/api/kernels/{kernel}")).status == 204
