"""What the service watches: a current copy of each kind, kept whether it leads or stands by."""

from __future__ import annotations

from datetime import datetime

from hub_service import homes, timestamps
from hub_service.gateways import replicas
from hub_service.kernels import liveness
from hub_service.kinds import (
    COMPONENT_GATEWAY,
    COMPONENT_HUBS_NOTEBOOK,
    COMPONENT_KERNEL,
    COMPONENT_NOTEBOOK,
    DEPLOYMENTS,
    EVENTS,
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    JUPYTER_KERNELS,
    JUPYTER_NOTEBOOKS,
    LABEL_COMPONENT,
    LABEL_FOR_USER_NAMESPACES,
    LABEL_MANAGED_BY,
    LABEL_OWNER,
    MANAGER,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    WORKLOADS,
    Object,
    Resource,
    gateway_reference,
    name_of,
)
from hub_service.kube import Cluster, Controller, Key, Reflector
from hub_service.kube.controller import Concerns, itself
from hub_service.reconcile import admissions, kernel_pods, warm_claims
from hub_service.reconcile import homes as home_reconciling
from hub_service.reconcile import kernelspecs as kernelspec_reconciling
from hub_service.reconcile import notebooks as notebook_reconciling
from hub_service.reconcile import starts as start_reconciling
from hub_service.reconcile.indexes import BY_GATEWAY, gateway_of
from hub_service.reconcile.namespaces import Scope, all_of_new_namespace
from hub_service.settings import Settings
from hub_service.sharing import kueue
from hub_service.sharing.pods import asks_for_gpus
from hub_service.starts import events as pod_events
from hub_service.starts.line import unscheduled
from hub_service.warm.pods import pool_of


class Watches:
    """Reflectors of the namespaces that the service looks after, which `scope` tells."""

    def __init__(self, cluster: Cluster, config: Settings) -> None:
        self._shared = config.namespace
        self.users: Reflector | None = None
        self._of_users: list[Reflector] = []
        if config.user_namespaces.enabled:
            self.users = Reflector(cluster, NAMESPACES, None, label_selector=LABEL_OWNER)
            # Those of the shared namespace that users' own have as well.
            for_users = f"{LABEL_FOR_USER_NAMESPACES}=true"
            self.network_policies = Reflector(
                cluster, NETWORK_POLICIES, config.namespace, label_selector=for_users
            )
            self._of_users = [self.users, self.network_policies]
        self.scope = Scope({config.namespace, *config.extra_namespaces}, self.users)
        namespace = self.scope.watched
        self.kernels = Reflector(
            cluster,
            JUPYTER_KERNELS,
            namespace,
            indexers={
                admissions.BY_OWNER: admissions.owner_of,
                BY_GATEWAY: gateway_of,
                notebook_reconciling.BY_NOTEBOOK: notebook_reconciling.notebook_of,
                **kernelspec_reconciling.KERNEL_INDEXERS,
            },
        )
        self.pods = Reflector(
            cluster,
            PODS,
            namespace,
            label_selector=_selector(COMPONENT_KERNEL),
            indexers={
                kernel_pods.BY_KERNEL: kernel_pods.kernel_of,
                start_reconciling.UNSCHEDULED: unscheduled,
                start_reconciling.WITH_GPUS: asks_for_gpus,
                home_reconciling.BY_HOME: home_reconciling.home_of,
                warm_claims.BY_POOL: pool_of,
            },
        )
        # Of the hub, which are not ours, and of JupyterNotebooks.
        notebook_servers = f"{LABEL_COMPONENT} in ({COMPONENT_HUBS_NOTEBOOK},{COMPONENT_NOTEBOOK})"
        self.notebook_pods = Reflector(
            cluster,
            PODS,
            namespace,
            label_selector=notebook_servers,
            indexers={home_reconciling.BY_SERVER: homes.server_of_pod},
        )
        # Not among `all`: where they may not be read, starts go on without.
        self.pod_events = Reflector(
            cluster,
            EVENTS,
            namespace,
            field_selector=pod_events.FIELD_SELECTOR,
            indexers={start_reconciling.BY_POD: pod_events.pod_uid},
        )
        # Not among `all` either, and only where Kueue is in use.
        self.workloads: Reflector | None = None
        if config.sharing.kueue.enabled:
            self.workloads = Reflector(
                cluster,
                WORKLOADS,
                namespace,
                indexers={start_reconciling.BY_POD: kueue.pod_uid},
            )
        self.kernel_specs = Reflector(
            cluster,
            JUPYTER_KERNEL_SPECS,
            namespace,
            indexers=kernelspec_reconciling.SPEC_INDEXERS,
        )
        self.notebooks = Reflector(
            cluster, JUPYTER_NOTEBOOKS, namespace, indexers={BY_GATEWAY: gateway_of}
        )

        def plain(resource: Resource, label_selector: str | None = None) -> Reflector:
            return Reflector(cluster, resource, namespace, label_selector=label_selector)

        self.templates = plain(JUPYTER_KERNEL_TEMPLATES)
        self.gateways = plain(JUPYTER_GATEWAYS)
        self.gateway_deployments = plain(DEPLOYMENTS, _selector(COMPONENT_GATEWAY))
        self.notebook_deployments = plain(DEPLOYMENTS, _selector(COMPONENT_NOTEBOOK))
        self.gateway_pods = Reflector(
            cluster,
            PODS,
            namespace,
            label_selector=_selector(COMPONENT_GATEWAY),
            indexers={BY_GATEWAY: replicas.gateway_of_pod},
        )

    def follow(
        self, controller: Controller, reflector: Reflector, concerns: Concerns = itself
    ) -> None:
        """Have a controller reconcile what changes, and what is in a namespace that comes."""
        controller.follow(reflector, concerns)
        if self.users is not None:
            controller.follow(self.users, all_of_new_namespace(reflector))

    def spec_namespace(self, namespace: str) -> str:
        """Where the kernel specs of a namespace's gateways are: users have those of all."""
        return self._shared if self.scope.is_users(namespace) else namespace

    def gateway_urls(self, name: str, namespace: str) -> list[str]:
        """Where the pods of a gateway are reached that may have taken messages for a kernel."""
        pods = self.gateway_pods.store.by_index(BY_GATEWAY, str(Key(namespace, name)))
        return replicas.urls(pods, timestamps.now())

    def heart_lost_since(self, kernel: Object) -> datetime | None:
        """Since when all pods of its gateway say that a kernel does not answer, if they do."""
        reference = gateway_reference(kernel)
        if reference is None or not liveness.reports(kernel):
            return None
        pods = self.gateway_pods.store.by_index(BY_GATEWAY, str(Key(*reference)))
        return liveness.lost_since(kernel, [name_of(pod) for pod in pods if replicas.serves(pod)])

    @property
    def optional(self) -> list[Reflector]:
        """What starts go on without: where it may not be read, or isn't there."""
        return [self.pod_events, *([self.workloads] if self.workloads else [])]

    @property
    def all(self) -> list[Reflector]:
        """All reflectors that nothing is decided without."""
        return [
            self.kernels,
            self.pods,
            self.notebook_pods,
            self.gateways,
            self.gateway_deployments,
            self.gateway_pods,
            self.kernel_specs,
            self.templates,
            self.notebooks,
            self.notebook_deployments,
            *self._of_users,
        ]


def _selector(component: str) -> str:
    return f"{LABEL_COMPONENT}={component},{LABEL_MANAGED_BY}={MANAGER}"
