"""The rules for kernels' ends, as the copies of the cluster and the hub's groups have them."""

from __future__ import annotations

from hub_service.hub.known_groups import KnownGroups
from hub_service.reconcile.policies import Policies
from hub_service.settings import Settings
from hub_service.watches import Watches


def policies_of(config: Settings, watches: Watches, groups: KnownGroups) -> Policies:
    """Those of all kernels that are looked after."""
    return Policies(
        rules=config.culling.rules,
        groups=groups,
        kernels=watches.kernels,
        gateways=watches.gateways,
        kernel_specs=watches.kernel_specs,
        templates=watches.templates,
        spec_namespace=watches.spec_namespace,
    )
