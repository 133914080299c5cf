"""Warm pods of JupyterKernelSpecs."""

from __future__ import annotations

from hub_service.kube import Cluster, Controller
from hub_service.reconcile.homes import Homes
from hub_service.reconcile.kernelspecs import if_meant_differently
from hub_service.reconcile.sharing import Sharing
from hub_service.reconcile.warm_pools import Rules, WarmPools
from hub_service.settings import Settings
from hub_service.watches import Watches

# A kernel that has just got a warm pod has its node's processors to itself for as long.
_REFILL_AFTER = 2.0


def warm_pool_controller(
    cluster: Cluster, config: Settings, watches: Watches, homes: Homes, sharing: Sharing
) -> Controller:
    """What keeps as many as each spec asks for."""
    pools = WarmPools(
        cluster,
        specs=watches.kernel_specs,
        templates=watches.templates,
        pods=watches.pods,
        homes=homes,
        joining=sharing.joining,
        security=config.pod_security.policy(),
        rules=Rules(
            gpus=config.warm_kernels.gpus,
            most=config.warm_kernels.most,
            home=config.homes.enabled,
            elsewhere=config.user_namespaces.enabled,
        ),
    )
    controller = Controller("warm pods", watches.scope.within(pools.reconcile), workers=2)
    watches.follow(controller, watches.kernel_specs, if_meant_differently)
    controller.follow(watches.templates, pools.specs_of_template)
    controller.follow(watches.pods, pools.specs_that_make_way)
    controller.follow(watches.pods, pools.spec_of_pod, within=_REFILL_AFTER)
    return controller
