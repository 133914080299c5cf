"""What each role may and may not do, asked of the API server that decides it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from demo.install import Installation
from hub_service.kinds import GROUP, ROLE_BINDINGS, Object, Resource
from hub_service.kube import Cluster

pytestmark = pytest.mark.one_mode

REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview")
HUB, USERS, SYSTEM = "jupyter", "jupyter-users", "kube-system"
# Accounts with one role each, for the time of the test; the hub's own has both.
ROLES = {"only-spawner": "elastic-spawner", "only-service": "elastic-service"}

# Who; verb, resource, namespace; name or group of the resource where it matters.
ALLOWED: list[tuple[str, str, str, str]] = [
    ("only-spawner", "create", "pods", USERS),
    ("only-spawner", "create", "persistentvolumeclaims", USERS),
    ("only-spawner", "deletecollection", f"jupyterkernels.{GROUP}", USERS),
    ("only-service", "create", "pods", USERS),
    ("only-service", "patch", "pods", USERS),  # their gate, and whose a warm one is
    ("only-service", "patch", f"jupyterkernels/status.{GROUP}", USERS),
    ("only-service", "get", "secrets", USERS),
    ("elastic-gateway", "create", f"jupyterkernels.{GROUP}", USERS),
    ("elastic-gateway", "get", "secrets", USERS),
]
DENIED: list[tuple[str, str, str, str]] = [
    # The spawner reads no keys, changes no kernel and no pod, and makes no roles.
    ("only-spawner", "get", "secrets", USERS),
    ("only-spawner", "list", "secrets", USERS),
    ("only-spawner", "patch", f"jupyterkernels.{GROUP}", USERS),
    ("only-spawner", "create", f"jupyterkernels.{GROUP}", USERS),
    ("only-spawner", "create", "pods/exec", USERS),
    ("only-spawner", "create", "rolebindings.rbac.authorization.k8s.io", USERS),
    ("only-spawner", "create", "pods", HUB),
    ("only-spawner", "create", "pods", SYSTEM),
    # The service makes no kernels, says nothing of pods, and is nothing outside of that namespace.
    ("only-service", "create", f"jupyterkernels.{GROUP}", USERS),
    ("only-service", "patch", f"jupyterkernels.{GROUP}", USERS),
    ("only-service", "patch", f"jupyterkernelspecs.{GROUP}", USERS),
    ("only-service", "patch", "pods/status", USERS),
    ("only-service", "create", "serviceaccounts/token", USERS),
    ("only-service", "create", "roles.rbac.authorization.k8s.io", USERS),
    ("only-service", "bind", "clusterroles.rbac.authorization.k8s.io", ""),
    ("only-service", "delete", "persistentvolumeclaims", USERS),
    ("only-service", "get", "secrets", HUB),
    ("only-service", "get", "secrets", SYSTEM),
    ("only-service", "create", "pods", HUB),
    ("only-service", "list", "pods", ""),
    # A gateway sees no pods, lists no Secrets and doesn't change what it serves.
    ("elastic-gateway", "list", "secrets", USERS),
    ("elastic-gateway", "watch", "secrets", USERS),
    ("elastic-gateway", "list", "pods", USERS),
    ("elastic-gateway", "create", "pods", USERS),
    ("elastic-gateway", "create", "pods/exec", USERS),
    ("elastic-gateway", "patch", f"jupytergateways.{GROUP}", USERS),
    ("elastic-gateway", "patch", f"jupyterkernelspecs.{GROUP}", USERS),
    ("elastic-gateway", "get", "secrets", HUB),
    ("elastic-gateway", "list", f"jupyterkernels.{GROUP}", ""),
    # Kernels and notebooks, whose account this is, could do nothing even with its token.
    *(
        ("default", verb, resource, USERS)
        for verb in ("get", "list", "create", "delete")
        for resource in ("secrets", "pods", "configmaps", f"jupyterkernels.{GROUP}")
    ),
]


@pytest.fixture
async def roles(installation: Installation, cluster: Cluster) -> AsyncIterator[None]:
    for account, role in ROLES.items():
        body = {
            "metadata": {"name": account},
            "roleRef": {"apiGroup": ROLE_BINDINGS.group, "kind": "Role", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": USERS}],
        }
        await cluster.create(ROLE_BINDINGS, USERS, body)
    yield
    for account in ROLES:
        await cluster.delete(ROLE_BINDINGS, USERS, account)


@pytest.mark.usefixtures("roles")
async def test_each_role_may_what_it_needs_and_not_what_is_outside(cluster: Cluster) -> None:
    async def may(account: str, verb: str, resource: str, namespace: str) -> bool:
        kind, _, group = resource.partition(".")
        plural, _, subresource = kind.partition("/")
        asked = {
            "user": f"system:serviceaccount:{USERS}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{USERS}"],
            "resourceAttributes": {
                "verb": verb,
                "group": group,
                "resource": plural,
                "subresource": subresource,
                "namespace": namespace,
            },
        }
        review: Object = await cluster.create(REVIEWS, None, {"spec": asked})
        return bool(review["status"]["allowed"])

    asked = [*ALLOWED, *DENIED]
    answers = await asyncio.gather(*(may(*action) for action in asked))
    allowed = [action for action, answer in zip(asked, answers, strict=True) if answer]
    assert allowed == ALLOWED
