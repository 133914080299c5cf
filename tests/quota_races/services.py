"""Two services that compete to lead, of which the leader is killed now and then."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from hub_service import settings
from hub_service.kinds import MANAGER
from hub_service.kube import ApiError, Cluster
from hub_service.kube.leader import LEASES
from tests.integration.test_process import Service, environment, started
from tests.real_hub import RealHub, free_port


class Services:
    """`python -m hub_service` twice, as in two pods."""

    def __init__(
        self, cluster: Cluster, config: settings.Settings, hub: RealHub, folder: Path
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._hub = hub
        self._folder = folder
        self._numbers = itertools.count()
        self._stack = AsyncExitStack()
        self._running: dict[Path, Service] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Services]:
        """Run them until the block ends."""
        async with self._stack:
            await asyncio.gather(self._start(), self._start())
            yield self

    async def kill_leader(self, *, pod: bool) -> None:
        """SIGKILL to whoever leads.

        pod: all of its processes, so that the other one takes over once the Lease has run out, and
        one more is started to stand by. Otherwise its parent starts it again, and it goes on.
        """
        folder, leader = await self._leader()
        (worker,) = leader.workers
        if not pod:
            os.kill(worker, signal.SIGKILL)
            return
        leader.process.send_signal(signal.SIGSTOP)  # so that it starts no other
        os.kill(worker, signal.SIGKILL)
        leader.process.kill()
        await leader.process.wait()
        del self._running[folder]
        await self._start()

    async def _start(self) -> None:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(parents=True)
        port = free_port()
        config = self._config.model_copy(
            update={"service": self._config.service.model_copy(update={"port": port})}
        )
        variables = environment(config, self._hub.api_url)
        variables[settings.IDENTITY_FOLDER_VARIABLE] = str(folder)
        service = await self._stack.enter_async_context(started(variables, port))
        await service.ready()
        self._running[folder] = service

    async def _leader(self) -> tuple[Path, Service]:
        """Whose name is in the Lease, once that is one of these."""
        async with asyncio.timeout(60):
            while True:
                holder = await self._holder()
                for folder, service in self._running.items():
                    names = [file.read_text().strip("\0") for file in folder.glob("*.identity")]
                    if any(name and holder.endswith(name) for name in names) and service.workers:
                        return folder, service
                await asyncio.sleep(0.1)

    async def _holder(self) -> str:
        try:
            lease = await self._cluster.get(LEASES, self._config.namespace, MANAGER)
        except ApiError:
            return ""
        return str(lease["spec"].get("holderIdentity") or "")
