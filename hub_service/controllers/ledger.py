"""The ledger, put together from the settings."""

from __future__ import annotations

from hub_service.api.metrics import Metrics
from hub_service.hub.known_groups import KnownGroups
from hub_service.kube import Cluster
from hub_service.reconcile.ledger import Ledger
from hub_service.reconcile.ledger_days import LedgerDays
from hub_service.settings import Settings
from hub_service.watches import Watches


def ledger(
    cluster: Cluster, config: Settings, watches: Watches, groups: KnownGroups, metrics: Metrics
) -> Ledger:
    """Kept in the users' namespace, one for all namespaces that are looked after."""
    return Ledger(
        LedgerDays(cluster, config.namespace),
        kernels=watches.kernels,
        pods=watches.pods,
        notebook_pods=watches.notebook_pods,
        covers=watches.scope.covers,
        groups=lambda: groups.current,
        retention=config.ledger.retention,
        note=metrics.booked,
    )
