"""The controller of the line of those that wait for GPUs."""

from __future__ import annotations

from hub_service.kube import Controller
from hub_service.reconcile.sharing import LINE, Sharing
from hub_service.watches import Watches

# Seconds for what many changes concern alike: starts that come in one go, and idle kernels.
_PODS_WITHIN = 0.05
_KERNELS_WITHIN = 0.5


def sharing_controller(sharing: Sharing, watches: Watches) -> Controller:
    """Looks at the line once as it begins, so that what nodes have is known to the first start."""
    controller = Controller("line", sharing.reconcile, workers=1)
    controller.follow(watches.pods, sharing.of_pod, within=_PODS_WITHIN)
    controller.follow(watches.kernels, sharing.of_kernel, within=_KERNELS_WITHIN)
    controller.queue.add(LINE)
    return controller
