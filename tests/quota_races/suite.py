"""Puts a race together: a namespace, two services, a hub, and who starts kernels."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from hub_service import settings
from hub_service.kinds import NAMESPACES
from hub_service.kube import Cluster
from hub_service.quotas.limits import KERNELS, PREFIX
from tests.quota_races.history import History
from tests.quota_races.race import LIMIT, Outcome, Race
from tests.quota_races.services import Services
from tests.quota_races.starters import Creators, Starter, gateways
from tests.real_hub import RealHub

KILLS = ("worker", "nothing", "pod", "nothing")


class Arena:
    """Where races of one way to treat starts over the limit (`when_full`) take place."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        hub: RealHub,
        services: Services,
        starter: Starter,
        when_full: str,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._hub = hub
        self._services = services
        self._starter = starter
        self._when_full = when_full

    async def race(self, seed: int, *, users: int, starts: int, kill: str) -> Outcome:
        """One race, of users that nobody has heard of before."""
        names = [f"{self._when_full}-{seed}-{number}" for number in range(users)]
        # Without their group they would have less.
        limit = {f"{PREFIX}{KERNELS}": str(LIMIT)}
        self._hub.group(f"racers-{self._when_full}-{seed}", *names, properties=limit)
        async with History.of(self._cluster, self._namespace) as history:
            return await Race(
                seed,
                history=history,
                services=self._services,
                starter=self._starter,
                when_full=self._when_full,
                kill=kill,
                users=names,
                starts=starts,
            ).run()


@asynccontextmanager
async def arena(
    hub: RealHub, folder: Path, *, when_full: str, through_gateways: bool
) -> AsyncIterator[Arena]:
    """Two services, and two gateways or two creators of resources, until the block ends."""
    async with AsyncExitStack() as stack:
        clusters = [
            await stack.enter_async_context(Cluster.from_environment(request_timeout=60.0))
            for _ in range(2)
        ]
        namespace = await stack.enter_async_context(_namespace(clusters[0]))
        config = _config(namespace, hub, when_full)
        services = await stack.enter_async_context(
            Services(clusters[0], config, hub, folder).running()
        )
        starter: Starter = Creators(clusters, namespace)
        if through_gateways:
            starter = await stack.enter_async_context(gateways(clusters[0], namespace, hub, folder))
        yield Arena(clusters[0], namespace, hub, services, starter, when_full)


def kills(seeds: Sequence[int]) -> list[str]:
    """What is killed in each of these races."""
    return [KILLS[index % len(KILLS)] for index, _ in enumerate(seeds)]


@asynccontextmanager
async def _namespace(cluster: Cluster) -> AsyncIterator[str]:
    name = f"races-{uuid.uuid4().hex[:8]}"
    await cluster.create(NAMESPACES, None, {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await cluster.delete(NAMESPACES, None, name)


def _config(namespace: str, hub: RealHub, when_full: str) -> settings.Settings:
    wanted: dict[str, Any] = {
        "namespace": namespace,
        "gateway": {"image": "elastic/none:none", "imagePullPolicy": "Never"},
        "hub": {"apiUrl": hub.api_url},
        "quota": {"kernelsPerUser": LIMIT - 1, "whenFull": when_full},
        "culling": {"idleTimeout": 0, "lostServerTimeout": 0},
        "orphans": {"grace": 3600},
        "start": {"autoscaler": True},
        "service": {"logLevel": "WARNING"},
    }
    return settings.parse(wanted)
