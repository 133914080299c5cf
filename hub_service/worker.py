"""The service put together: copies of the cluster always, controllers while it leads."""

from __future__ import annotations

import asyncio

from hub_service.api.metrics import Metrics
from hub_service.controllers import Controllers
from hub_service.controllers.rules import policies_of
from hub_service.hub.known_groups import FetchGroups, KnownGroups
from hub_service.kinds import MANAGER
from hub_service.kube import Cluster
from hub_service.kube.leader import Leader
from hub_service.kube.lease import Timing
from hub_service.quotas import group_limits
from hub_service.reconcile.culling import GatewayUrls
from hub_service.reconcile.keeping import Keeper
from hub_service.reconcile.ledger_days import LedgerDays
from hub_service.reconcile.servers import ServersOf, Tell
from hub_service.settings import Settings
from hub_service.watches import Watches


class Worker:
    """All parts of the service.

    `token` is the service's own, which gateways know it by: of the hub, or where there is none, any
    that nobody else has. `identity`: what it is called where several compete. `servers_of` asks the
    hub for a user's servers, `tell` tells it of a server's activity, `fetch_groups` asks it for its
    groups; all None where there is no hub. `gateway_urls` tells where the pods of a gateway of a
    name and namespace are reached; None: at their addresses.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: Settings,
        token: str,
        *,
        identity: str,
        servers_of: ServersOf | None,
        tell: Tell | None,
        fetch_groups: FetchGroups | None,
        gateway_urls: GatewayUrls | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._watches = Watches(cluster, config)
        self.metrics = Metrics(self._watches, user_figures=config.ledger.user_figures)
        self.ledger = LedgerDays(cluster, config.namespace) if config.ledger.enabled else None
        self.groups = KnownGroups(fetch_groups, on_change=group_limits.Reports().note)
        for reflector in self._watches.all:
            reflector.observed_by(self.metrics)
        self._leader = Leader(
            cluster,
            # One for all that look after the users' namespace, wherever they run.
            namespace=config.namespace,
            name=MANAGER,
            identity=identity,
            timing=timing,
            on_change=self.metrics.leading,
        )
        guarded = cluster.guarded(self._leader.may_act)

        def controllers() -> Controllers:
            return Controllers(
                guarded,
                config,
                self._watches,
                self.metrics,
                token,
                groups=self.groups,
                servers_of=servers_of,
                tell=tell,
                gateway_urls=gateway_urls,
            )

        self._controllers = controllers
        self.keeper = Keeper(
            cluster,
            kernels=self._watches.kernels,
            policies=policies_of(config, self._watches, self.groups),
            groups=self.groups,
        )
        self.kernels = self._watches.kernels

    def covers(self, namespace: str) -> bool:
        """Whether the service looks after a namespace."""
        return self._watches.scope.covers(namespace)

    def is_ready(self) -> bool:
        """Whether everything was listed once; so one that stands by can be ready."""
        return all(reflector.is_synced for reflector in self._watches.all)

    async def run(self) -> None:
        """Reflect, and reconcile while leading, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in (*self._watches.all, *self._watches.optional):
                group.create_task(reflector.run())
            group.create_task(self.groups.run())
            group.create_task(self._leader.run(self._act))

    async def _act(self) -> None:
        await self._controllers().run()
