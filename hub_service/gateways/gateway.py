"""JupyterGateway: what it is made of in the cluster, and the status that follows.

Deployment, Service, ServiceAccount and RoleBinding have the gateway's name. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hub_service import conditions
from hub_service.conditions import Condition
from hub_service.deployment import available
from hub_service.kinds import (
    ACCEPTED,
    APP_NAME,
    COMPONENT_GATEWAY,
    DEPLOYMENTS,
    GATEWAY_PORT,
    JUPYTER_GATEWAYS,
    KERNEL_SPECS_FOUND,
    LABEL_COMPONENT,
    LABEL_GATEWAY,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_NETWORK_ACCESS_HUB,
    MANAGER,
    ROLE_BINDINGS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Object,
    Reason,
    Resource,
    name_of,
    namespace_of,
    owner_reference,
    spec_of,
    status_of,
)

_REPLICA_FIELDS = (
    "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
)  # fmt: skip


@dataclass(frozen=True)
class StartTimes:
    """Seconds of a kernel's start that a gateway keeps, where its JupyterGateway doesn't say."""

    answer_timeout: int
    answer_after: int
    grace: int


# Seconds: a gateway that is told to end serves on until every node sends requests elsewhere and
# starts that it was asked for are answered. It ends by itself then.
_TERMINATION_GRACE = 60


@dataclass(frozen=True)
class Defaults:
    """What a JupyterGateway that doesn't say otherwise gets, and where the hub is.

    `hub_api_url` is None where there is no hub; `service_name` is the
    hub service that may seal kernels. `spec_namespace` holds the kernel specs, None: the gateway's
    own namespace does. `for_user_namespaces` is (namespace, name) of the gateway that makes kernels
    in its callers' own namespaces.
    """

    image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...]
    start: StartTimes
    cluster_role: str
    hub_api_url: str | None
    service_name: str
    spec_namespace: str | None = None
    for_user_namespaces: tuple[str, str] | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a gateway's status follows from, beside its spec.

    `refusal` is the API server's sentence where it didn't take one of the objects. `kernel_specs`
    are the names of the JupyterKernelSpecs in its namespace, `kernels` counts its JupyterKernels
    that are alive, `notebooks` are the entries of status.notebooks, and `service_token_hash` is
    the service's own, where it has none of a hub.
    """

    deployment: Object | None = None
    refusal: str | None = None
    kernel_specs: frozenset[str] = frozenset()
    kernels: int = 0
    notebooks: tuple[Object, ...] = ()
    service_token_hash: str | None = None


def url(name: str, namespace: str) -> str:
    """Where a gateway is reached from inside the cluster."""
    return f"http://{name}.{namespace}:{GATEWAY_PORT}"


def accepts(gateway: Object, namespace: str) -> bool:
    """Whether JupyterNotebooks of that namespace may use the gateway; unless told, its own may."""
    allowed = spec_of(gateway).get("notebookNamespaces")
    if allowed is None:
        return namespace == namespace_of(gateway)
    return namespace in allowed or "*" in allowed


def desired(gateway: Object, defaults: Defaults) -> list[tuple[Resource, Object]]:
    """The objects that make up a gateway, in the order in which they are needed."""
    return [
        (SERVICE_ACCOUNTS, _object(gateway, SERVICE_ACCOUNTS, {})),
        (ROLE_BINDINGS, _object(gateway, ROLE_BINDINGS, _role_binding(gateway, defaults))),
        (SERVICES, _object(gateway, SERVICES, {"spec": _service(gateway)})),
        (DEPLOYMENTS, _object(gateway, DEPLOYMENTS, {"spec": _deployment(gateway, defaults)})),
    ]


def _object(gateway: Object, resource: Resource, content: Object) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name_of(gateway),
            "namespace": namespace_of(gateway),
            "labels": _labels(gateway),
            "ownerReferences": [owner_reference(gateway, JUPYTER_GATEWAYS)],
        },
        **content,
    }


def _selector(gateway: Object) -> dict[str, str]:
    return {LABEL_COMPONENT: COMPONENT_GATEWAY, LABEL_GATEWAY: name_of(gateway)}


def _labels(gateway: Object) -> dict[str, str]:
    return {LABEL_NAME: APP_NAME, LABEL_MANAGED_BY: MANAGER, **_selector(gateway)}


def _role_binding(gateway: Object, defaults: Defaults) -> Object:
    return {
        "roleRef": {
            "apiGroup": ROLE_BINDINGS.group,
            "kind": "ClusterRole",
            "name": spec_of(gateway).get("clusterRole") or defaults.cluster_role,
        },
        "subjects": [
            {
                "kind": "ServiceAccount",
                "name": name_of(gateway),
                "namespace": namespace_of(gateway),
            }
        ],
    }


def _service(gateway: Object) -> Object:
    return {
        "type": "ClusterIP",
        "selector": _selector(gateway),
        "ports": [{"name": "http", "port": GATEWAY_PORT, "targetPort": "http", "protocol": "TCP"}],
    }


def _deployment(gateway: Object, defaults: Defaults) -> Object:
    return {
        "replicas": spec_of(gateway).get("replicas") or 1,
        # The next pod serves the same kernels before the present one is told to end.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "selector": {"matchLabels": _selector(gateway)},
        "template": {
            "metadata": {"labels": {**_labels(gateway), LABEL_NETWORK_ACCESS_HUB: "true"}},
            "spec": {
                "serviceAccountName": name_of(gateway),
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": _TERMINATION_GRACE,
                "securityContext": {
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [_container(gateway, defaults)],
                **_pull_secrets(gateway, defaults),
            },
        },
    }


def _pull_secrets(gateway: Object, defaults: Defaults) -> Object:
    secrets = spec_of(gateway).get("imagePullSecrets")
    if secrets is None:
        secrets = [{"name": name} for name in defaults.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def _container(gateway: Object, defaults: Defaults) -> Object:
    spec = spec_of(gateway)
    return {
        "name": "gateway",
        "image": spec.get("image") or defaults.image,
        "imagePullPolicy": spec.get("imagePullPolicy") or defaults.image_pull_policy,
        "ports": [{"name": "http", "containerPort": GATEWAY_PORT, "protocol": "TCP"}],
        "env": _environment(gateway, defaults),
        "resources": spec.get("resources") or {},
        "readinessProbe": {
            "httpGet": {"path": "/api/health", "port": "http"},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _environment(gateway: Object, defaults: Defaults) -> list[Object]:
    # Only what can't change while kernels run. All else the gateway reads from its JupyterGateway.
    values = {
        "ELASTIC_GATEWAY_NAME": name_of(gateway),
        "ELASTIC_SERVICE_NAME": defaults.service_name,
        "ELASTIC_START_TIMEOUT": str(defaults.start.answer_timeout),
        "ELASTIC_START_ANSWER_AFTER": str(defaults.start.answer_after),
        "ELASTIC_START_GRACE": str(defaults.start.grace),
    }
    if defaults.spec_namespace is not None:
        values["ELASTIC_SPEC_NAMESPACE"] = defaults.spec_namespace
    if defaults.for_user_namespaces == (namespace_of(gateway), name_of(gateway)):
        values["ELASTIC_USER_NAMESPACES"] = "true"
    if defaults.hub_api_url is not None:
        values["JUPYTERHUB_API_URL"] = defaults.hub_api_url
    own = {"ELASTIC_NAMESPACE": "metadata.namespace", "ELASTIC_POD_NAME": "metadata.name"}
    return [
        *(
            {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
            for name, path in own.items()
        ),
        *({"name": name, "value": value} for name, value in values.items()),
    ]


def refusal(resource: Resource, body: Object, status: int, message: str) -> str:
    """What to say where the API server didn't take one of the objects: its status and sentence."""
    if resource == ROLE_BINDINGS and status == 403:
        role = body["roleRef"]["name"]
        # Its own sentence lists every right in the role.
        return (
            f"spec.clusterRole: the service may not bind the ClusterRole {role}. Add it to the "
            "resourceNames of the right `bind` in the service's Role, or name another."
        )
    return f"{resource.kind}: {message}"


def status(gateway: Object, around: Surroundings, now: datetime) -> Object:
    """The status of a gateway; None as a value means that the field goes away."""
    accepted = Condition(ACCEPTED, True, Reason.ACCEPTED, "The spec is carried out.")
    if around.refusal is not None:
        accepted = Condition(ACCEPTED, False, Reason.INVALID_SPEC, around.refusal)
    wanted = [available(around.deployment, "gateway"), accepted, _kernel_specs(gateway, around)]
    present = status_of(gateway).get("conditions") or []
    replicas = status_of(around.deployment or {})
    return {
        "conditions": conditions.merged(present, wanted, now),
        "url": url(name_of(gateway), namespace_of(gateway)),
        "kernels": around.kernels,
        "notebooks": list(around.notebooks) or None,
        "serviceTokenHash": around.service_token_hash,
        "observedGeneration": gateway["metadata"].get("generation"),
        **{field: replicas.get(field) for field in _REPLICA_FIELDS},
    }


def _kernel_specs(gateway: Object, around: Surroundings) -> Condition:
    spec, namespace = spec_of(gateway), namespace_of(gateway)
    named = dict.fromkeys(spec.get("kernels") or [], "spec.kernels")
    if spec.get("defaultKernel"):
        named.setdefault(spec["defaultKernel"], "spec.defaultKernel")
    missing = [
        f"{field}: {name}" for name, field in named.items() if name not in around.kernel_specs
    ]
    if missing:
        return Condition(
            KERNEL_SPECS_FOUND,
            False,
            Reason.KERNEL_SPEC_NOT_FOUND,
            f"There is no such JupyterKernelSpec in the namespace {namespace} ("
            f"{'; '.join(missing)}). Create it there, or take its name out.",
        )
    if not around.kernel_specs:
        return Condition(
            KERNEL_SPECS_FOUND,
            False,
            Reason.NO_KERNEL_SPECS,
            f"There is no JupyterKernelSpec in the namespace {namespace}: notebooks find no kernel "
            "to start. Create one there.",
        )
    return Condition(KERNEL_SPECS_FOUND, True, Reason.FOUND, "All kernels named are there.")
