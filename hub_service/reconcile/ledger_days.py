"""The days of the ledger as they are in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import date, timedelta

from hub_service.kinds import JUPYTER_LEDGERS, Object, name_of
from hub_service.kube import ApiError, Cluster, Key
from hub_service.ledger import document
from hub_service.reconcile.calls import find

# How many are asked for at a time.
_AT_A_TIME = 8


class LedgerDays:
    """JupyterLedgers of one namespace. All methods raise ApiError."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def get(self, day: date) -> Object | None:
        """A day's; None where there is none."""
        key = Key(self._namespace, document.name_of_day(day))
        return await find(self._cluster, JUPYTER_LEDGERS, key)

    async def those_of(self, days: Iterable[date]) -> list[Object]:
        """Those that there are of some days, in their order."""
        slots = asyncio.Semaphore(_AT_A_TIME)

        async def one(day: date) -> Object | None:
            async with slots:
                return await self.get(day)

        found = await asyncio.gather(*(one(day) for day in days))
        return [item for item in found if item is not None]

    async def last(self, today: date) -> Object | None:
        """The latest; None where there is none of the last days."""
        for back in range(document.LOOK_BACK):
            item = await self.get(today - timedelta(days=back))
            if item is not None:
                return item
        return None

    async def create(self, day: date) -> None:
        """Make one, with nothing in it."""
        try:
            await self._cluster.create(JUPYTER_LEDGERS, self._namespace, document.empty(day))
        except ApiError as error:
            if error.status != 409:
                raise

    async def patch(self, day: date, status: Object) -> None:
        """Write part of a day's status."""
        name = document.name_of_day(day)
        await self._cluster.merge_patch(
            JUPYTER_LEDGERS, self._namespace, name, {"status": status}, subresource="status"
        )

    async def delete_before(self, day: date) -> int:
        """Delete the days before this one; how many there were."""
        listed = await self._cluster.list(JUPYTER_LEDGERS, self._namespace, only_metadata=True)
        old = [
            name_of(item)
            for item in listed.get("items") or []
            if name_of(item) < document.name_of_day(day)
        ]
        for name in old:
            await self._cluster.delete(JUPYTER_LEDGERS, self._namespace, name)
        return len(old)
