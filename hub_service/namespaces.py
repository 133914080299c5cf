"""Which namespaces the service looks after, what gateways may do across them, and what reaches
what in those of users. Pure.

Gateways, notebooks and kernels are in the namespace of the settings, in further ones that the
settings name, and, where each user has one, in those: KubeSpawner makes them, the spawner labels
them with their owner. Only who may label namespaces can add one.
"""

from __future__ import annotations

from collections.abc import Iterable

from hub_service.kinds import (
    LABEL_MANAGED_BY,
    LABEL_OWNER,
    LABEL_SERVER,
    MANAGER,
    NETWORK_POLICIES,
    ROLE_BINDINGS,
    Object,
    is_deleting,
    name_of,
    namespace_of,
    spec_of,
)
from hub_service.names import safe_label

# ClusterRole and RoleBinding of gateways in users' namespaces: the specs of all are in the shared
# one.
KERNEL_SPECS_ROLE = "elastic-kernel-specs"


def is_users(namespace: Object | None) -> bool:
    """Whether a Namespace belongs to one user, and is there to stay."""
    if namespace is None or is_deleting(namespace):
        return False
    return bool((namespace["metadata"].get("labels") or {}).get(LABEL_OWNER))


def namespace_of_server(namespaces: Iterable[Object], user: str, server: str | None) -> str | None:
    """The namespace of a user's server, of those with the owner's label; None where there is none.

    server: "" is the default one; None where it isn't known, or there is one namespace for all.
    """
    found: list[tuple[bool, str]] = []
    for namespace in namespaces:
        labels: Object = namespace["metadata"].get("labels") or {}
        if labels.get(LABEL_OWNER) != safe_label(user) or is_deleting(namespace):
            continue
        only = labels.get(LABEL_SERVER)
        if only is None or (server is not None and only == safe_label(server)):
            found.append((only is None, name_of(namespace)))
    # One for this server goes before one for all servers.
    return min(found)[1] if found else None


def labels_of_namespace(user: str, server: str, template: str) -> dict[str, str]:
    """The labels of a user's namespace; of one server's, where the template has its name."""
    labels = {LABEL_OWNER: safe_label(user)}
    if "server" in template:
        labels[LABEL_SERVER] = safe_label(server)
    return labels


def gateway_binding(namespace: str, gateway: tuple[str, str], cluster_role: str) -> Object:
    """Lets the shared gateway, given as (namespace, name), make kernels in a user's namespace."""
    return _binding(namespace, gateway[1], cluster_role, [gateway])


def kernel_specs_binding(namespace: str, gateways: Iterable[Object]) -> Object:
    """Lets gateways of other namespaces read the kernel specs of this one."""
    others = {
        (namespace_of(gateway), name_of(gateway))
        for gateway in gateways
        if namespace_of(gateway) != namespace and not is_deleting(gateway)
    }
    return _binding(namespace, KERNEL_SPECS_ROLE, KERNEL_SPECS_ROLE, sorted(others))


def copied_policies(policies: Iterable[Object], namespace: str) -> list[Object]:
    """NetworkPolicies of the shared namespace as a user's namespace has them."""
    return [
        {
            "apiVersion": NETWORK_POLICIES.api_version,
            "kind": NETWORK_POLICIES.kind,
            "metadata": {
                "name": name_of(policy),
                "namespace": namespace,
                "labels": {LABEL_MANAGED_BY: MANAGER},
            },
            "spec": spec_of(policy),
        }
        for policy in policies
        if not is_deleting(policy)
    ]


def _binding(
    namespace: str, name: str, cluster_role: str, accounts: list[tuple[str, str]]
) -> Object:
    return {
        "apiVersion": ROLE_BINDINGS.api_version,
        "kind": ROLE_BINDINGS.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {LABEL_MANAGED_BY: MANAGER},
        },
        "roleRef": {
            "apiGroup": ROLE_BINDINGS.group,
            "kind": "ClusterRole",
            "name": cluster_role,
        },
        "subjects": [
            {"kind": "ServiceAccount", "name": account, "namespace": where}
            for where, account in accounts
        ],
    }
