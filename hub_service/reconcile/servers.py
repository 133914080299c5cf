"""Asks and tells the hub about the servers that kernels belong to.

Every error here is logged and tried again at the next look: kernels do without the hub.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from hub_service import timestamps
from hub_service.culling import Observed
from hub_service.hub import servers
from hub_service.hub.servers import Presence, Server
from hub_service.kinds import Object
from hub_service.kube import Key, Reflector, key_of

log = logging.getLogger(__name__)

_T = TypeVar("_T")

ServersOf = Callable[[str], Awaitable[frozenset[str] | None]]
Tell = Callable[[Server, datetime], Awaitable[bool]]

TELL_INTERVAL = timedelta(minutes=1)
# How often the hub is asked about a server that was there; about one that was not, at each look.
ASK_INTERVAL = timedelta(minutes=5)
_LOOK_INTERVAL = 15.0
# The hub is one process, and people wait for it.
_AT_A_TIME = 4


class Servers:
    """What the hub says of servers with kernels, and what it is told about them.

    `servers_of` and `tell` call the hub, see hub.HubClient. `timeout`: how long the kernels of a
    server that is gone wait for the next one; None: for ever. `on_change` is called with kernels
    for which `is_overdue` has changed. `observed` knows more of what a kernel does.
    """

    def __init__(
        self,
        kernels: Reflector,
        *,
        servers_of: ServersOf,
        tell: Tell,
        timeout: timedelta | None,
        on_change: Callable[[Key], None],
        observed: Observed = lambda _, activity: activity,
        clock: Callable[[], datetime] = timestamps.now,
    ) -> None:
        self._kernels = kernels
        self._servers_of = servers_of
        self._tell = tell
        self._timeout = timeout
        self._on_change = on_change
        self._observed = observed
        self._now = clock
        self._told: dict[Server, datetime] = {}
        self._presence: dict[Server, Presence] = {}
        self._overdue: set[Server] = set()
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    def is_overdue(self, kernel: Object) -> bool:
        """Whether a kernel's server is gone for so long that it needn't be waited for."""
        return servers.server_of(kernel) in self._overdue

    async def run(self) -> None:
        """Tell and ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.tell, TELL_INTERVAL.total_seconds()))
            if self._timeout is not None:
                interval = min(_LOOK_INTERVAL, self._timeout.total_seconds() / 4)
                group.create_task(self._repeat(self.ask, interval))

    async def tell(self) -> None:
        """Tell the hub of servers whose kernels were active."""
        known = self._known()
        self._told = {server: at for server, at in self._told.items() if server in known}
        news = servers.news(self._kernels.store, self._told, self._now(), self._observed)
        await self._each(news, lambda server: self._tell_one(server, news[server]))

    async def ask(self) -> None:
        """Ask the hub which servers are there, where that may have changed."""
        now, known = self._now(), self._known()
        interval = min(ASK_INTERVAL, self._timeout or ASK_INTERVAL)
        self._presence = {s: p for s, p in self._presence.items() if s in known}
        owners = {
            server.owner
            for server in known
            if servers.ask_again(self._presence.get(server), now, interval=interval)
        }
        await self._each(owners, self._ask_about)
        self._judge()

    def _known(self) -> set[Server]:
        found = (servers.server_of(kernel) for kernel in self._kernels.store)
        return {server for server in found if server is not None}

    async def _tell_one(self, server: Server, moment: datetime) -> None:
        if await self._tell(server, moment):
            self._told[server] = moment

    async def _ask_about(self, owner: str) -> None:
        names, now = await self._servers_of(owner), self._now()
        for server in self._known():
            if server.owner == owner:
                there = None if names is None else server.name in names
                before = self._presence.get(server)
                self._presence[server] = servers.presence(before, there, now)

    def _judge(self) -> None:
        now = self._now()
        overdue = {
            server
            for server, known in self._presence.items()
            if servers.is_overdue(known, now, timeout=self._timeout)
        }
        changed, self._overdue = overdue ^ self._overdue, overdue
        for server in changed & overdue:
            log.info(
                "server %r of %s is gone: its kernels end once idle", server.name, server.owner
            )
        for kernel in self._kernels.store:
            if servers.server_of(kernel) in changed:
                self._on_change(key_of(kernel))

    async def _each(self, items: Iterable[_T], work: Callable[[_T], Awaitable[None]]) -> None:
        async def one(item: _T) -> None:
            async with self._slots:
                await work(item)

        await asyncio.gather(*(one(item) for item in items))

    async def _repeat(self, work: Callable[[], Awaitable[None]], interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await work()
