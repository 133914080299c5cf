"""Callers whose token has ceased to be good: they lose their websockets, too.

A request shows its token; a websocket did so once. Those that are open are looked at again when the
hub has stopped a server of their user, and once in a while, for tokens that end otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from elastic_spawner.gateway.authentication import Authenticator
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.gateway_resource import Offer
from elastic_spawner.gateway.identity import FRESH_FOR, Identity

log = logging.getLogger(__name__)

_LOOK_INTERVAL = FRESH_FOR.total_seconds()
_AT_A_TIME = 8


class Client(Protocol):
    """An open websocket: whose it is, and the header that said so."""

    caller: Identity
    authorization: str | None

    def revoke(self, message: str) -> None:
        """Close it, and say why."""


class Revocations:
    """Follows the JupyterGateway, and the clients that are connected.

    caller: who is behind a header now; KernelError. clients: all open websockets.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        caller: Callable[[str | None], Awaitable[Identity]],
        clients: Callable[[], Iterable[Client]],
    ) -> None:
        self._authenticator = authenticator
        self._caller = caller
        self._clients = clients
        self._told: set[str] = set()
        self._doubted: set[str] = set()
        self._news = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    def follow(self, offer: Offer) -> None:
        """What the JupyterGateway says has changed."""
        owners = {owner for stop, owner in offer.stops.items() if stop not in self._told}
        self._told = set(offer.stops)
        for owner in owners:
            self._authenticator.doubt(owner)
        if owners:
            self._doubted |= owners
            self._news.set()

    async def run(self) -> None:
        """Look at open websockets until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._news.wait(), _LOOK_INTERVAL)
            except TimeoutError:
                clients = list(self._clients())
            else:
                self._news.clear()
                doubted, self._doubted = self._doubted, set()
                clients = [c for c in self._clients() if c.caller.name in doubted]
            await asyncio.gather(*(self._look_at(client) for client in clients))

    async def _look_at(self, client: Client) -> None:
        async with self._slots:
            try:
                await self._caller(client.authorization)
            except Exception as error:
                if not isinstance(error, KernelError):
                    log.exception("whether a websocket's token is good could not be told")
                    return
                if error.status in (401, 403):  # else the hub could not say
                    log.info("a websocket of %s is closed: %s", client.caller.name, error.reason)
                    client.revoke(error.message)
