"""What acts while the service leads: all controllers, those of kernels made here.

Made anew for each time of leading, so that nothing is remembered from before: another may have led
meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from functools import partial

from hub_service.api.metrics import Metrics
from hub_service.controllers.gateways import (
    apply_shared_gateway,
    gateway_controller,
    user_gateway_controller,
)
from hub_service.controllers.gpu_use import gpu_use
from hub_service.controllers.homes import furnishing
from hub_service.controllers.kernelspecs import kernel_spec_controllers
from hub_service.controllers.ledger import ledger
from hub_service.controllers.namespaces import namespace_controllers
from hub_service.controllers.notebooks import notebook_controller
from hub_service.controllers.orphans import orphan_controllers
from hub_service.controllers.rules import policies_of
from hub_service.controllers.sharing import sharing_controller
from hub_service.controllers.warm import warm_pool_controller
from hub_service.culling import Observed
from hub_service.gateways.activity import GatewayClient
from hub_service.hub.groups import Groups
from hub_service.hub.known_groups import KnownGroups
from hub_service.kernels import liveness
from hub_service.kube import ApiError, Cluster, Controller, Key, Reflector, WorkQueue, key_of
from hub_service.kube.backoff import Backoff
from hub_service.notebooks.notebook_tokens import token_hash
from hub_service.reconcile.admissions import Admissions
from hub_service.reconcile.connections import ConnectionsReconciler, of_new
from hub_service.reconcile.culling import Culling, GatewayUrls
from hub_service.reconcile.interrupts import InterruptReconciler, kernels_to_interrupt
from hub_service.reconcile.kernel_pods import KernelPods, kernel_of_pod
from hub_service.reconcile.kernels import KernelReconciler, is_urgent, unless_put_off
from hub_service.reconcile.orphans import SecretSweep
from hub_service.reconcile.recorder import Recorder
from hub_service.reconcile.restarts import RestartReconciler, kernels_to_restart
from hub_service.reconcile.seals import Seals
from hub_service.reconcile.servers import Servers, ServersOf, Tell
from hub_service.reconcile.sharing import Sharing
from hub_service.reconcile.starts import Starts
from hub_service.reconcile.visibility import Visibility
from hub_service.settings import Settings
from hub_service.starts.judge import Times
from hub_service.watches import Watches

log = logging.getLogger(__name__)


class Controllers:
    """All that writes to the cluster, on the copies in `watches`.

    `metrics` are told of what happens. `groups` say what quotas rest on. `token`, `servers_of`,
    `tell`, `gateway_urls`: see Worker.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: Settings,
        watches: Watches,
        metrics: Metrics,
        token: str,
        *,
        groups: KnownGroups,
        servers_of: ServersOf | None,
        tell: Tell | None,
        gateway_urls: GatewayUrls | None,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._watches = watches
        self._groups = groups
        self._gateway_urls = gateway_urls or watches.gateway_urls
        self._metrics = metrics
        is_first = partial(is_urgent, watches.kernels, watches.pods)
        self._queue = queue = WorkQueue[Key](is_urgent=is_first)
        self._seals = Seals(queue.add)
        self._client = GatewayClient(token)
        self._recorder = Recorder(cluster)
        self._gpu_use = gpu_use(cluster, config, watches, queue.add)
        observed = self._gpu_use.observed if self._gpu_use else lambda _, activity: activity
        self._servers: Servers | None = None
        if servers_of is not None and tell is not None:
            seconds = config.culling.lost_server_timeout
            self._servers = Servers(
                watches.kernels,
                servers_of=servers_of,
                tell=tell,
                timeout=timedelta(seconds=seconds) if seconds > 0 else None,
                on_change=queue.add,
                observed=observed,
            )
        self._controllers = [
            *self._kernel_controllers(queue, observed),
            self._interrupt_controller(),
            self._restart_controller(queue),
            self._connections_controller(),
            *kernel_spec_controllers(cluster, watches, config.pod_security.policy()),
            gateway_controller(
                cluster,
                config,
                watches,
                service_token_hash=None if config.hub.enabled else token_hash(token),
            ),
            notebook_controller(cluster, config, watches),
            *orphan_controllers(cluster, config, watches),
        ]
        self._secrets = SecretSweep(
            cluster,
            kernels=watches.kernels,
            namespaces=lambda: watches.scope.covered,
            grace=timedelta(seconds=config.orphans.grace),
        )
        if servers_of is not None:
            controller = user_gateway_controller(cluster, watches, servers_of=servers_of)
            self._controllers.append(controller)
        if watches.users is not None:
            self._controllers += namespace_controllers(cluster, config, watches, watches.users)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        # What others have admitted shows in either: quotas are decided on the copies.
        for reflector in (self._watches.kernels, self._watches.pods):
            await _refresh(reflector)
        for controller in self._controllers:
            controller.observed_by(self._metrics)
        self._metrics.controllers = self._controllers
        try:
            with (
                self._watches.kernels.subscribed(self._metrics.note_kernel),
                self._groups.subscribed(self._look_at_all_kernels),
            ):
                await self._run()
        finally:
            self._metrics.controllers = ()
            await self._seals.close()
            self._client.close()

    def _look_at_all_kernels(self, _: Groups) -> None:
        """Groups have changed: other rules may end their members' kernels."""
        if self._config.culling.groups:
            for item in self._watches.kernels.store:
                self._queue.add(key_of(item))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for controller in self._controllers:
                group.create_task(controller.run())
            group.create_task(self._secrets.run())
            group.create_task(self._recorder.run())
            if self._servers is not None:
                group.create_task(self._servers.run())
            if self._gpu_use is not None:
                group.create_task(self._gpu_use.run())
            if self._config.ledger.enabled:
                kept = ledger(
                    self._cluster, self._config, self._watches, self._groups, self._metrics
                )
                group.create_task(kept.run())
            if self._config.has_shared_gateway:
                group.create_task(apply_shared_gateway(self._cluster, self._config))

    def _kernel_controllers(self, queue: WorkQueue[Key], observed: Observed) -> list[Controller]:
        starts = Starts(
            self._cluster,
            pods=self._watches.pods,
            events=self._watches.pod_events,
            times=_start_times(self._config),
            workloads=self._watches.workloads,
        )
        homes = furnishing(self._cluster, self._config, self._watches, starts)
        security = self._config.pod_security.policy()
        admissions = Admissions(
            kernels=self._watches.kernels,
            pods=self._watches.pods,
            groups=self._groups,
            policy=self._config.quota.policy,
            rules=self._config.quota.rules,
            times=starts.times,
            covers=self._watches.scope.covers,
            security=security,
            visibility=Visibility(self._watches.kernel_specs, self._watches.spec_namespace),
        )
        policies = policies_of(self._config, self._watches, self._groups)
        sharing = Sharing(
            self._cluster,
            kernels=self._watches.kernels,
            pods=self._watches.pods,
            nodes=starts.known_nodes,
            policies=policies,
            covers=self._watches.scope.covers,
            fair=self._config.sharing.fair,
            most=self._config.sharing.most_released(autoscaler=starts.times.autoscaler),
            look_at=queue.add,
            queue=self._config.sharing.kueue.queue,
            observed=observed,
        )
        culling = Culling(
            gateways=self._watches.gateways,
            gateway_urls=self._gateway_urls,
            covers=self._watches.scope.covers,
            seals=self._seals,
            client=self._client,
            policies=policies,
            is_overdue=self._servers.is_overdue if self._servers else lambda _: False,
            demands=sharing.demand_of,
            unsure=sharing.put_off,
            observed=observed,
            current=self._watches.kernels.store.get,
        )
        reconciler = KernelReconciler(
            self._cluster,
            kernels=self._watches.kernels,
            pods=KernelPods(
                self._cluster,
                self._watches.pods,
                homes,
                security,
                sharing.joining,
            ),
            admissions=admissions,
            starts=starts,
            liveness_rule=_liveness_rule(self._config),
            heart_lost_since=self._watches.heart_lost_since,
            culling=culling,
            seals=self._seals,
            recorder=self._recorder,
        )
        reconcile = self._watches.scope.within(reconciler.reconcile)
        controller = Controller("kernel", reconcile, workers=32, queue=queue)
        self._watches.follow(controller, self._watches.kernels, unless_put_off)
        controller.follow(self._watches.kernels, admissions.kernels_that_wait)
        controller.follow(self._watches.pods, kernel_of_pod)
        controller.follow(self._watches.pod_events, starts.kernel_of_event, waits=False)
        if self._watches.workloads is not None:
            controller.follow(self._watches.workloads, starts.kernel_of_workload, waits=False)
        controller.follow(self._watches.gateways, reconciler.kernels_of_gateway)
        controller.follow(self._watches.kernel_specs, policies.kernels_of_spec)
        controller.follow(self._watches.templates, policies.kernels_of_template)
        return [
            controller,
            sharing_controller(sharing, self._watches),
            warm_pool_controller(self._cluster, self._config, self._watches, homes, sharing),
        ]

    def _interrupt_controller(self) -> Controller:
        reconciler = InterruptReconciler(
            self._cluster, kernels=self._watches.kernels, pods=self._watches.pods
        )
        reconcile = self._watches.scope.within(reconciler.reconcile)
        controller = Controller("interrupt", reconcile, workers=8)
        controller.follow(self._watches.kernels, kernels_to_interrupt)
        return controller

    def _restart_controller(self, kernels: WorkQueue[Key]) -> Controller:
        reconciler = RestartReconciler(
            self._cluster,
            kernels=self._watches.kernels,
            pods=self._watches.pods,
            rule=_liveness_rule(self._config),
            lost_since=self._watches.heart_lost_since,
            give_up=kernels.add,
        )
        reconcile = self._watches.scope.within(reconciler.reconcile)
        controller = Controller("restart", reconcile, workers=16)
        controller.follow(self._watches.kernels, kernels_to_restart)
        controller.follow(self._watches.gateway_pods, reconciler.kernels_of_pod)
        return controller

    def _connections_controller(self) -> Controller:
        reconciler = ConnectionsReconciler(
            self._cluster, kernels=self._watches.kernels, gateway_pods=self._watches.gateway_pods
        )
        reconcile = self._watches.scope.within(reconciler.reconcile)
        controller = Controller("connections", reconcile, workers=4)
        controller.follow(self._watches.gateway_pods, reconciler.kernels_of_pod)
        # Those that went before this service began to look.
        controller.follow(self._watches.kernels, of_new)
        return controller


def _liveness_rule(config: Settings) -> liveness.Rule:
    return liveness.Rule(config.liveness.timeout, config.liveness.restarts)


async def _refresh(reflector: Reflector) -> None:
    """Have what is there now."""
    backoff = Backoff(0.2, 10.0)
    while True:
        try:
            return await reflector.refresh()
        except ApiError as error:
            log.warning("%s: could not be listed: %s; trying again", reflector, error)
            await asyncio.sleep(backoff.next())


def _start_times(config: Settings) -> Times:
    return Times(
        admission=config.start.admission_timeout,
        scheduling=config.start.scheduling_timeout,
        image=config.start.image_timeout,
        container=config.start.container_timeout,
        autoscaler=config.start.autoscaler,
    )
