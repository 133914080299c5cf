"""The controllers of what has lost its owner."""

from __future__ import annotations

from datetime import timedelta

from hub_service.kube import Cluster, Controller
from hub_service.reconcile import orphans
from hub_service.settings import Settings
from hub_service.watches import Watches


def orphan_controllers(cluster: Cluster, config: Settings, watches: Watches) -> list[Controller]:
    """Kernels of a gateway that is gone, pods on a node that is, and pods without a kernel."""
    grace = timedelta(seconds=config.orphans.grace)
    of_gateways = orphans.GatewayKernels(
        cluster,
        kernels=watches.kernels,
        gateways=watches.gateways,
        grace=grace,
        covers=watches.scope.covers,
    )
    without_gateway = Controller("kernel without gateway", of_gateways.reconcile, workers=1)
    without_gateway.follow(watches.kernels, orphans.gateway_of_new_kernel)
    without_gateway.follow(watches.gateways, orphans.gateways_that_came_or_went)
    lost = orphans.LostPods(cluster, pods=watches.pods)
    on_dead_node = Controller("lost pod", watches.scope.within(lost.reconcile), workers=1)
    on_dead_node.follow(watches.pods, orphans.pods_being_deleted)
    pods = orphans.PodsWithoutKernel(cluster, pods=watches.pods, grace=grace)
    without_kernel = Controller(
        "pod without kernel", watches.scope.within(pods.reconcile), workers=1
    )
    without_kernel.follow(watches.pods, orphans.pods_without_kernel)
    return [without_gateway, on_dead_node, without_kernel]
