"""Two services alive at once, as in a rolling update: kernels are made once, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub_service import settings
from hub_service.kinds import MANAGER, name_of
from hub_service.kube import Cluster
from hub_service.kube.leader import LEASES
from tests.integration.support import DEADLINE, Observed
from tests.integration.test_process import Service, environment, started
from tests.real_hub import RealHub


@pytest.fixture
def beside(
    config: Callable[..., settings.Settings], hub: RealHub, tmp_path: Path
) -> Callable[..., Any]:
    """Starts a service as in a pod of its own."""

    @asynccontextmanager
    async def start(name: str) -> AsyncIterator[Service]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = tmp_path / name
        folder.mkdir()
        built = config(
            service={"port": port}, culling={"idleTimeout": 0}, quota={"kernelsPerUser": 6}
        )
        variables = environment(built, hub.api_url) | {
            settings.IDENTITY_FOLDER_VARIABLE: str(folder)
        }
        async with started(variables, port) as running:
            await running.ready()  # one that stands by is ready, too
            yield running

    return start


async def holder(cluster: Cluster, namespace: str, after: str | None = None) -> str:
    """Who holds the Lease, once it isn't the one of before."""
    async with asyncio.timeout(DEADLINE):
        while True:
            lease = await cluster.get(LEASES, namespace, MANAGER)
            found = lease["spec"].get("holderIdentity")
            if found not in (None, after):
                return str(found)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("end", ["told to stop", "killed"])
async def test_the_next_goes_on_where_the_first_was(
    cluster: Cluster,
    namespace: str,
    start: Any,
    observed: Observed,
    beside: Any,
    end: str,
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(beside("first"))
        before = [await start() for _ in range(2)]
        leads = await holder(cluster, namespace)
        await stack.enter_async_context(beside("second"))
        between = [await start() for _ in range(2)]
        if end == "killed":
            (worker,) = first.workers
            first.process.send_signal(signal.SIGSTOP)  # so that it starts no other
            os.kill(worker, signal.SIGKILL)
            first.process.kill()
        else:
            first.process.terminate()
        after = [await start() for _ in range(2)]
        await first.process.wait()
        assert await holder(cluster, namespace, after=leads) != leads
        kernels = [*before, *between, *after]
        for kernel in kernels:
            await observed.phase(kernel, "Running")
            assert observed.pods_made_for(kernel) == [name_of(kernel)]
        # The next one knows of all that were admitted before.
        refused = await start()
        await observed.phase(refused, "Refused")
