"""Namespaces of users → RoleBindings, so that gateways work across namespaces; NetworkPolicies."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from hub_service import namespaces
from hub_service.kinds import (
    LABEL_MANAGED_BY,
    MANAGER,
    NETWORK_POLICIES,
    ROLE_BINDINGS,
    Object,
    Resource,
    name_of,
    namespace_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.reconcile.calls import apply_role_binding, delete

log = logging.getLogger(__name__)

_LOOK_AGAIN = 60.0
# Copies of policies aren't watched. What somebody does to them is put right after this.
_COPY_AGAIN = 600.0

Reconcile = Callable[[Key], Awaitable[float | None]]


class Scope:
    """Which namespaces are looked after.

    fixed: by name; users: reflector of the Namespaces with an owner's label, None where users have
    none of their own.
    """

    def __init__(self, fixed: Collection[str], users: Reflector | None) -> None:
        self._fixed = frozenset(fixed)
        self._users = users

    @property
    def watched(self) -> frozenset[str] | None:
        """What reflectors watch: these namespaces, or all (None), and then see what `covers`."""
        return self._fixed if self._users is None else None

    @property
    def covered(self) -> list[str]:
        """The namespaces that are looked after now."""
        found = [] if self._users is None else list(self._users.store)
        users = {name_of(item) for item in found if namespaces.is_users(item)}
        return sorted(self._fixed | users)

    def is_users(self, namespace: str) -> bool:
        """Whether it is the namespace of one user."""
        if self._users is None or namespace in self._fixed:
            return False
        return namespaces.is_users(self._users.store.get(("", namespace)))

    def covers(self, namespace: str) -> bool:
        """Whether what is in it is the service's business."""
        return namespace in self._fixed or self.is_users(namespace)

    def within(self, reconcile: Reconcile) -> Reconcile:
        """The same, for objects of these namespaces only."""

        async def guarded(key: Key) -> float | None:
            return await reconcile(key) if self.covers(key.namespace) else None

        return guarded


def all_of_new_namespace(
    reflector: Reflector,
) -> Callable[[Key, Object | None, Object | None], Iterable[Key]]:
    """Concerns of a Namespace that comes: the objects that are in it already."""

    def concerned(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        if namespaces.is_users(old) or not namespaces.is_users(new):
            return ()
        return [key_of(item) for item in reflector.store if namespace_of(item) == key.name]

    return concerned


class NamespaceReconciler:
    """`reconcile` for a Controller that follows the users' Namespaces.

    gateway: namespace and name of the shared gateway; cluster_role: what it may do.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        users: Reflector,
        gateway: tuple[str, str],
        cluster_role: str,
    ) -> None:
        self._cluster = cluster
        self._users = users
        self._gateway = gateway
        self._cluster_role = cluster_role

    async def reconcile(self, key: Key) -> float | None:
        """Let the shared gateway work in one user's namespace."""
        if not namespaces.is_users(self._users.store.get(key)):
            return None
        body = namespaces.gateway_binding(key.name, self._gateway, self._cluster_role)
        return await _apply(self._cluster, body)


class KernelSpecsReconciler:
    """`reconcile` for a Controller that follows the gateways: one binding for all of them."""

    def __init__(self, cluster: Cluster, *, gateways: Reflector, scope: Scope, shared: str) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._scope = scope
        self._shared = shared

    def binding(self, _key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """The binding's key, where a gateway came or went."""
        if (old is None) == (new is None):
            return ()
        return (Key(self._shared, namespaces.KERNEL_SPECS_ROLE),)

    async def reconcile(self, _key: Key) -> float | None:
        """Let gateways of users' namespaces read the specs of all."""
        of_users = [g for g in self._gateways.store if self._scope.is_users(namespace_of(g))]
        body = namespaces.kernel_specs_binding(self._shared, of_users)
        return await _apply(self._cluster, body)


class NetworkPolicyReconciler:
    """`reconcile` for a Controller that follows the users' Namespaces and `policies`.

    policies: reflector of the shared namespace's NetworkPolicies that are meant for users' as well.
    """

    def __init__(self, cluster: Cluster, *, users: Reflector, policies: Reflector) -> None:
        self._cluster = cluster
        self._users = users
        self._policies = policies

    def all_of_users(self, *_: object) -> Iterable[Key]:
        """A policy concerns the namespaces of all users."""
        return [key_of(namespace) for namespace in self._users.store]

    async def reconcile(self, key: Key) -> float | None:
        """Copy the policies into one user's namespace, and take away what was copied before."""
        if not namespaces.is_users(self._users.store.get(key)):
            return None
        wanted = namespaces.copied_policies(self._policies.store, key.name)
        for body in wanted:
            refused = await _apply(self._cluster, body, NETWORK_POLICIES)
            if refused:
                return refused
        selector = f"{LABEL_MANAGED_BY}={MANAGER}"
        present = await self._cluster.list(NETWORK_POLICIES, key.name, label_selector=selector)
        names = {name_of(body) for body in wanted}
        for copy in present["items"]:
            if name_of(copy) not in names:
                await delete(self._cluster, NETWORK_POLICIES, copy)
        return _COPY_AGAIN


async def _apply(
    cluster: Cluster, body: Object, resource: Resource = ROLE_BINDINGS
) -> float | None:
    """Apply it; seconds until the next attempt where it was refused, else None."""
    try:
        if resource == ROLE_BINDINGS:
            await apply_role_binding(cluster, body, is_ours=_is_ours)
        else:
            await cluster.apply(
                resource, namespace_of(body), name_of(body), body, field_manager=MANAGER
            )
    except ApiError as error:
        if error.status != 403:
            raise
        log.warning(
            "%s %s/%s was refused: %s. See helm-values/rbac-user-namespaces.yaml.",
            resource.kind,
            namespace_of(body),
            name_of(body),
            error.message,
        )
        return _LOOK_AGAIN
    return None


def _is_ours(item: Object) -> bool:
    labels: Object = item["metadata"].get("labels") or {}
    return labels.get(LABEL_MANAGED_BY) == MANAGER
