"""Namespaces of users, and what is to be in each."""

from __future__ import annotations

from hub_service.kube import Cluster, Controller, Key, Reflector
from hub_service.namespaces import KERNEL_SPECS_ROLE
from hub_service.reconcile.namespaces import (
    KernelSpecsReconciler,
    NamespaceReconciler,
    NetworkPolicyReconciler,
)
from hub_service.settings import Settings
from hub_service.watches import Watches


def namespace_controllers(
    cluster: Cluster, config: Settings, watches: Watches, users: Reflector
) -> list[Controller]:
    """Rights of gateways in them and of theirs, and copies of NetworkPolicies."""
    shared = config.namespace
    specs = KernelSpecsReconciler(
        cluster, gateways=watches.gateways, scope=watches.scope, shared=shared
    )
    kernel_specs = Controller("kernel specs' readers", specs.reconcile, workers=1)
    kernel_specs.follow(watches.gateways, specs.binding)
    kernel_specs.follow(users, lambda *_: (Key(shared, KERNEL_SPECS_ROLE),))
    policies = watches.network_policies
    copier = NetworkPolicyReconciler(cluster, users=users, policies=policies)
    copies = Controller("network policies", copier.reconcile, workers=4)
    copies.follow(users)
    copies.follow(policies, copier.all_of_users)
    if not config.has_shared_gateway:
        return [kernel_specs, copies]
    reconciler = NamespaceReconciler(
        cluster,
        users=users,
        gateway=(shared, config.gateway.name),
        cluster_role=config.gateway.cluster_role,
    )
    bindings = Controller("namespace", reconciler.reconcile, workers=4)
    bindings.follow(users)
    return [kernel_specs, copies, bindings]
