"""Reflectors and controllers of the service, put together: what is watched, and who follows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from hub_service import gateway, notebook
from hub_service.activity import GatewayClient
from hub_service.kinds import (
    COMPONENT_GATEWAY,
    COMPONENT_KERNEL,
    COMPONENT_NOTEBOOK,
    DEPLOYMENTS,
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    JUPYTER_KERNELS,
    JUPYTER_NOTEBOOKS,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_OWNER,
    MANAGER,
    NAMESPACES,
    PODS,
    Object,
)
from hub_service.kube import (
    ApiError,
    Cluster,
    Controller,
    Key,
    Reflector,
    WorkQueue,
)
from hub_service.kube.backoff import Backoff
from hub_service.kube.controller import Concerns, itself
from hub_service.namespaces import KERNEL_SPECS_ROLE
from hub_service.notebook_tokens import token_hash
from hub_service.reconcile import gateways as gateway_reconciling
from hub_service.reconcile import kernels as kernel_reconciling
from hub_service.reconcile import kernelspecs as kernelspec_reconciling
from hub_service.reconcile import notebooks as notebook_reconciling
from hub_service.reconcile import user_gateways as user_gateway_reconciling
from hub_service.reconcile.gateways import GatewayReconciler
from hub_service.reconcile.indexes import BY_GATEWAY, gateway_of
from hub_service.reconcile.interrupts import InterruptReconciler, kernels_to_interrupt
from hub_service.reconcile.kernels import KernelReconciler, Rules
from hub_service.reconcile.namespaces import (
    KernelSpecsReconciler,
    NamespaceReconciler,
    Scope,
    all_of_new_namespace,
)
from hub_service.reconcile.notebooks import NotebookReconciler
from hub_service.reconcile.seals import Seals
from hub_service.reconcile.servers import Servers, ServersOf, Tell
from hub_service.reconcile.user_gateways import UserGatewayReconciler
from hub_service.settings import Settings

log = logging.getLogger(__name__)


class Worker:
    """All parts of the service.

    `token` is the service's own, which gateways know it by: of the hub, or where there is none, any
    that nobody else has. `servers_of` asks the hub for a user's servers, `tell` tells it of a
    server's activity; both None where there is no hub. `gateway_url` tells where a gateway of a
    name and namespace is reached.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: Settings,
        token: str,
        *,
        servers_of: ServersOf | None,
        tell: Tell | None,
        gateway_url: Callable[[str, str], str] = gateway.url,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._gateway_url = gateway_url
        self._users = (
            Reflector(cluster, NAMESPACES, None, label_selector=LABEL_OWNER)
            if config.user_namespaces.enabled
            else None
        )
        self._scope = Scope({config.namespace, *config.extra_namespaces}, self._users)
        namespace = self._scope.watched
        self.kernels = Reflector(
            cluster,
            JUPYTER_KERNELS,
            namespace,
            indexers={
                kernel_reconciling.BY_OWNER: kernel_reconciling.owner_of,
                BY_GATEWAY: gateway_of,
                notebook_reconciling.BY_NOTEBOOK: notebook_reconciling.notebook_of,
                **kernelspec_reconciling.KERNEL_INDEXERS,
            },
        )
        self._pods = Reflector(
            cluster,
            PODS,
            namespace,
            label_selector=_selector(COMPONENT_KERNEL),
            indexers={kernel_reconciling.BY_KERNEL: kernel_reconciling.kernel_of},
        )
        self._gateways = Reflector(cluster, JUPYTER_GATEWAYS, namespace)
        self._deployments = Reflector(
            cluster, DEPLOYMENTS, namespace, label_selector=_selector(COMPONENT_GATEWAY)
        )
        self._kernel_specs = Reflector(
            cluster,
            JUPYTER_KERNEL_SPECS,
            namespace,
            indexers=kernelspec_reconciling.SPEC_INDEXERS,
        )
        self._templates = Reflector(cluster, JUPYTER_KERNEL_TEMPLATES, namespace)
        self._notebooks = Reflector(
            cluster,
            JUPYTER_NOTEBOOKS,
            namespace,
            indexers={BY_GATEWAY: gateway_of},
        )
        self._notebook_deployments = Reflector(
            cluster, DEPLOYMENTS, namespace, label_selector=_selector(COMPONENT_NOTEBOOK)
        )
        self._reflectors = [
            self.kernels,
            self._pods,
            self._gateways,
            self._deployments,
            self._kernel_specs,
            self._templates,
            self._notebooks,
            self._notebook_deployments,
        ]
        queue = WorkQueue[Key]()
        self._servers: Servers | None = None
        if servers_of is not None and tell is not None:
            seconds = config.culling.lost_server_timeout
            self._servers = Servers(
                self.kernels,
                servers_of=servers_of,
                tell=tell,
                timeout=timedelta(seconds=seconds) if seconds > 0 else None,
                on_change=queue.add,
            )
        self._controllers = [
            self._kernel_controller(token, queue),
            self._interrupt_controller(),
            *kernelspec_reconciling.controllers(
                cluster, specs=self._kernel_specs, templates=self._templates, kernels=self.kernels
            ),
            self._gateway_controller(None if config.hub.enabled else token_hash(token)),
            self._notebook_controller(),
        ]
        if servers_of is not None:
            self._controllers.append(self._user_gateway_controller(servers_of))
        if self._users is not None:
            self._reflectors.append(self._users)
            self._controllers += self._namespace_controllers(self._users)

    def _kernel_controller(self, token: str, queue: WorkQueue[Key]) -> Controller:
        reconciler = KernelReconciler(
            self._cluster,
            kernels=self.kernels,
            pods=self._pods,
            gateways=self._gateways,
            rules=Rules(
                kernels_per_user=self._config.quota.kernels_per_user,
                idle_timeout=self._config.culling.idle_timeout,
            ),
            seals=Seals(GatewayClient(token).seal, queue.add),
            is_overdue=self._servers.is_overdue if self._servers else lambda _: False,
            gateway_url=self._gateway_url,
            covers=self._scope.covers,
        )
        reconcile = self._scope.within(reconciler.reconcile)
        controller = Controller("kernel", reconcile, workers=16, queue=queue)
        self._follow(controller, self.kernels)
        controller.follow(self._pods, kernel_reconciling.kernel_of_pod)
        controller.follow(self._gateways, reconciler.kernels_of_gateway)
        return controller

    def _interrupt_controller(self) -> Controller:
        reconciler = InterruptReconciler(self._cluster, kernels=self.kernels)
        reconcile = self._scope.within(reconciler.reconcile)
        controller = Controller("interrupt", reconcile, workers=8)
        controller.follow(self.kernels, kernels_to_interrupt)
        return controller

    def _gateway_controller(self, service_token_hash: str | None) -> Controller:
        reconciler = GatewayReconciler(
            self._cluster,
            gateways=self._gateways,
            deployments=self._deployments,
            kernel_specs=self._kernel_specs,
            kernels=self.kernels,
            notebooks=self._notebooks,
            defaults=_gateway_defaults(self._config),
            spec_namespace=self._spec_namespace,
            covers=self._scope.covers,
            service_token_hash=service_token_hash,
        )
        reconcile = self._scope.within(reconciler.reconcile)
        controller = Controller("gateway", reconcile, workers=2)
        self._follow(controller, self._gateways)
        controller.follow(self._deployments)
        controller.follow(self._kernel_specs, reconciler.gateways_of_namespace)
        controller.follow(self.kernels, gateway_reconciling.gateway_of_kernel)
        controller.follow(self._notebooks, gateway_reconciling.gateways_of_notebook)
        return controller

    def _notebook_controller(self) -> Controller:
        reconciler = NotebookReconciler(
            self._cluster,
            notebooks=self._notebooks,
            gateways=self._gateways,
            kernels=self.kernels,
            deployments=self._notebook_deployments,
            defaults=notebook.Defaults(
                image=self._config.notebook.image,
                image_pull_policy=self._config.notebook.image_pull_policy,
                start_timeout=self._config.start.longest_request,
            ),
            covers=self._scope.covers,
        )
        reconcile = self._scope.within(reconciler.reconcile)
        controller = Controller("notebook", reconcile, workers=2)
        self._follow(controller, self._notebooks)
        controller.follow(self._notebook_deployments)
        controller.follow(self._gateways, reconciler.notebooks_of_gateway)
        controller.follow(self.kernels, notebook_reconciling.notebook_of_kernel)
        return controller

    def _user_gateway_controller(self, servers_of: ServersOf) -> Controller:
        reconciler = UserGatewayReconciler(
            self._cluster,
            gateways=self._gateways,
            kernels=self.kernels,
            servers_of=servers_of,
        )
        reconcile = self._scope.within(reconciler.reconcile)
        controller = Controller("user gateway", reconcile, workers=2)
        self._follow(controller, self._gateways, user_gateway_reconciling.that_came_or_went)
        controller.follow(self.kernels, user_gateway_reconciling.gateway_of_ended_kernel)
        return controller

    def _namespace_controllers(self, users: Reflector) -> list[Controller]:
        shared = self._config.namespace
        specs = KernelSpecsReconciler(
            self._cluster, gateways=self._gateways, scope=self._scope, shared=shared
        )
        kernel_specs = Controller("kernel specs' readers", specs.reconcile, workers=1)
        kernel_specs.follow(self._gateways, specs.binding)
        kernel_specs.follow(users, lambda *_: (Key(shared, KERNEL_SPECS_ROLE),))
        if not self._config.has_shared_gateway:
            return [kernel_specs]
        reconciler = NamespaceReconciler(
            self._cluster,
            users=users,
            gateway=(shared, self._config.gateway.name),
            cluster_role=self._config.gateway.cluster_role,
        )
        bindings = Controller("namespace", reconciler.reconcile, workers=4)
        bindings.follow(users)
        return [kernel_specs, bindings]

    def _follow(
        self, controller: Controller, reflector: Reflector, concerns: Concerns = itself
    ) -> None:
        """Reconcile what changes, and what is in a namespace that comes to be looked after."""
        controller.follow(reflector, concerns)
        if self._users is not None:
            controller.follow(self._users, all_of_new_namespace(reflector))

    def _spec_namespace(self, namespace: str) -> str:
        """Where the kernel specs of a namespace's gateways are: users have those of all."""
        return self._config.namespace if self._scope.is_users(namespace) else namespace

    def covers(self, namespace: str) -> bool:
        """Whether the service looks after a namespace."""
        return self._scope.covers(namespace)

    def is_ready(self) -> bool:
        """Whether everything was listed once."""
        return all(reflector.is_synced for reflector in self._reflectors)

    async def run(self) -> None:
        """Reflect and reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())
            for controller in self._controllers:
                group.create_task(controller.run())
            if self._servers is not None:
                group.create_task(self._servers.run())
            if self._config.has_shared_gateway:
                group.create_task(self._apply_shared_gateway())

    async def _apply_shared_gateway(self) -> None:
        body = shared_gateway(self._config)
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                await self._cluster.apply(
                    JUPYTER_GATEWAYS,
                    self._config.namespace,
                    self._config.gateway.name,
                    body,
                    field_manager=MANAGER,
                )
            except ApiError as error:
                log.warning("the shared gateway %s: %s", self._config.gateway.name, error)
                await asyncio.sleep(backoff.next())
            else:
                return


def _selector(component: str) -> str:
    return f"{LABEL_COMPONENT}={component},{LABEL_MANAGED_BY}={MANAGER}"


def _gateway_defaults(config: Settings) -> gateway.Defaults:
    return gateway.Defaults(
        image=config.gateway.image,
        image_pull_policy=config.gateway.image_pull_policy,
        start=gateway.StartTimes(
            answer_timeout=config.start.answer_timeout,
            answer_after=config.start.answer_after,
            grace=config.start.grace,
        ),
        cluster_role=config.gateway.cluster_role,
        hub_api_url=config.hub.api_url if config.hub.enabled else None,
        service_name=config.service.name,
        for_user_namespaces=(
            (config.namespace, config.gateway.name) if config.user_namespaces.enabled else None
        ),
    )


def shared_gateway(config: Settings) -> Object:
    """The JupyterGateway for everybody."""
    return {
        "apiVersion": JUPYTER_GATEWAYS.api_version,
        "kind": JUPYTER_GATEWAYS.kind,
        "metadata": {
            "name": config.gateway.name,
            "namespace": config.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGER},
        },
        "spec": config.gateway_spec(),
    }
