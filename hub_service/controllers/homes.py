"""What kernels' pods are furnished with, put together from the settings."""

from __future__ import annotations

from hub_service import homes
from hub_service.kube import Cluster
from hub_service.reconcile.homes import Homes
from hub_service.reconcile.starts import Starts
from hub_service.settings import Settings
from hub_service.watches import Watches


def furnishing(cluster: Cluster, config: Settings, watches: Watches, starts: Starts) -> Homes:
    """Their users' files, and those of all."""
    return Homes(
        cluster,
        servers=watches.notebook_pods,
        pods=watches.pods,
        nodes=starts.known_nodes,
        may_grow=config.start.autoscaler,
        rule=_rule(config),
    )


def _rule(config: Settings) -> homes.Rule:
    wanted, jobs = config.homes, config.homes.jobs
    return homes.Rule(
        enabled=wanted.enabled,
        volumes=tuple(wanted.volumes),
        without=wanted.elsewhere == "without",
        jobs=homes.JobHome(jobs.claim, jobs.mount_path, jobs.sub_path) if jobs.claim else None,
        shared=tuple(volume.mount() for volume in config.shared_volumes),
    )
