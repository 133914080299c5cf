"""What is asked of Prometheus, put together from the settings."""

from __future__ import annotations

from collections.abc import Callable

from hub_service.gpu_use.prometheus import Prometheus
from hub_service.kube import Cluster, Key
from hub_service.reconcile.gpu_use import GpuUse
from hub_service.settings import Settings
from hub_service.watches import Watches


def gpu_use(
    cluster: Cluster, config: Settings, watches: Watches, look_at: Callable[[Key], None]
) -> GpuUse | None:
    """None where there is no Prometheus to ask."""
    wanted = config.gpu_use
    if wanted.prometheus_url is None:
        return None
    return GpuUse(
        cluster,
        Prometheus(wanted.prometheus_url),
        wanted.series,
        wanted.rule,
        kernels=watches.kernels,
        covers=watches.scope.covers,
        look_at=look_at,
        interval=wanted.interval,
        lookback=wanted.lookback,
    )
