"""JupyterNotebook: what it is made of in the cluster, and the status that follows.

A notebook server without a hub: a Deployment and a Service with the notebook's name, and a Secret
with what lets people into it and what lets it into its gateway. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from hub_service import conditions
from hub_service.conditions import Condition
from hub_service.deployment import available
from hub_service.gateways import gateway
from hub_service.kinds import (
    ACCEPTED,
    APP_NAME,
    COMPONENT_NOTEBOOK,
    DEPLOYMENTS,
    GATEWAY_ACCEPTED,
    JUPYTER_NOTEBOOKS,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_NOTEBOOK,
    MANAGER,
    NOTEBOOK_PORT,
    SERVICES,
    Object,
    Reason,
    Resource,
    gateway_reference,
    is_deleting,
    name_of,
    namespace_of,
    owner_reference,
    spec_of,
    status_of,
)
from hub_service.notebooks.notebook_config import file_text, with_notebook_config
from hub_service.notebooks.notebook_environment import notebook_environment
from hub_service.notebooks.notebook_tokens import (
    CONFIG,
    CONFIG_DIRECTORY,
    GATEWAY_TOKEN,
    secret_name,
)
from hub_service.pods import podsecurity, podtemplate

_CONFIG_VOLUME = "elastic-notebook"
# A change of it gives the notebook a new pod: jupyter_server reads its configuration once.
_SECRET_VERSION = "kubeflow.tkestack.io/secret-version"  # noqa: S105 - a name
_CONFIG_PATH = "JUPYTER_CONFIG_PATH"
_GATEWAY_AUTH_TOKEN = "JUPYTER_GATEWAY_AUTH_TOKEN"  # noqa: S105 - a name

DEFAULT_ARGUMENTS = ("jupyter", "lab", "--ip=0.0.0.0", f"--port={NOTEBOOK_PORT}", "--no-browser")


class NotebookError(ValueError):
    """A JupyterNotebook that can't be carried out; the message names the field and the way out."""


@dataclass(frozen=True)
class Defaults:
    """What a JupyterNotebook that doesn't say otherwise gets.

    `image` is None where the settings name none. `start_timeout` in seconds, as
    notebook_environment takes it. `security`: what its template may ask for.
    """

    image: str | None
    image_pull_policy: str
    start_timeout: int
    security: podsecurity.Policy = podsecurity.RESTRICTED


def url(name: str, namespace: str) -> str:
    """Where a notebook server is reached from inside the cluster."""
    return f"http://{name}.{namespace}:{NOTEBOOK_PORT}"


def owner(notebook: Object) -> str:
    """Whose its kernels are. Unless told, the notebook's own; no hub user can have such a name."""
    given = spec_of(notebook).get("owner")
    return str(given or f"notebook/{namespace_of(notebook)}/{name_of(notebook)}")


def metadata(notebook: Object, name: str) -> Object:
    """The metadata of an object that belongs to a notebook."""
    return {
        "name": name,
        "namespace": namespace_of(notebook),
        "labels": _labels(notebook),
        "ownerReferences": [owner_reference(notebook, JUPYTER_NOTEBOOKS)],
    }


def desired(
    notebook: Object, defaults: Defaults, secret_version: str
) -> list[tuple[Resource, Object]]:
    """Service and Deployment. `secret_version` is the resourceVersion of the notebook's Secret.

    Raises NotebookError.
    """
    bodies = [
        (SERVICES, {"spec": _service(notebook)}),
        (DEPLOYMENTS, {"spec": _deployment(notebook, defaults, secret_version)}),
    ]
    return [
        (
            resource,
            {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": metadata(notebook, name_of(notebook)),
                **body,
            },
        )
        for resource, body in bodies
    ]


def _selector(notebook: Object) -> dict[str, str]:
    return {LABEL_COMPONENT: COMPONENT_NOTEBOOK, LABEL_NOTEBOOK: name_of(notebook)}


def _labels(notebook: Object) -> dict[str, str]:
    return {LABEL_NAME: APP_NAME, LABEL_MANAGED_BY: MANAGER, **_selector(notebook)}


def _service(notebook: Object) -> Object:
    return {
        "type": "ClusterIP",
        "selector": _selector(notebook),
        "ports": [
            {"name": "http", "port": NOTEBOOK_PORT, "targetPort": NOTEBOOK_PORT, "protocol": "TCP"}
        ],
    }


def _deployment(notebook: Object, defaults: Defaults, secret_version: str) -> Object:
    template: Object = spec_of(notebook).get("template") or {}
    if objection := podsecurity.objection(template, defaults.security):
        raise NotebookError(f"spec.template.{objection}")
    given = podtemplate.metadata(template)
    pod: Object = copy.deepcopy(template.get("spec") or {})
    # The notebook needs nothing of the cluster's API, and whoever is in it would have what it has:
    # a token is mounted if the template wants that of a ServiceAccount which it may name.
    if pod.get("serviceAccountName") not in defaults.security.service_accounts:
        pod["automountServiceAccountToken"] = False
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    if not pod.get("containers"):
        pod["containers"] = [{"name": COMPONENT_NOTEBOOK}]
    _fill(_container(pod["containers"]), notebook, defaults)
    volume = {
        "name": _CONFIG_VOLUME,
        "secret": {
            "secretName": secret_name(notebook),
            "items": [{"key": CONFIG, "path": CONFIG}],
        },
    }
    pod["volumes"] = [*(pod.get("volumes") or []), volume]
    result = {
        "metadata": {
            "labels": {**given.labels, **_labels(notebook)},
            "annotations": {**given.annotations, _SECRET_VERSION: secret_version},
        },
        "spec": podsecurity.hardened(pod, defaults.security),
    }
    return {
        "replicas": 1,
        # Two at a time would write to the same files.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": _selector(notebook)},
        "template": with_notebook_config(result, file_text()),
    }


def _container(containers: list[Object]) -> Object:
    """The notebook's container: the one named `notebook`, else the first."""
    for container in containers:
        if container.get("name") == COMPONENT_NOTEBOOK:
            return container
    return containers[0]


def _fill(container: Object, notebook: Object, defaults: Defaults) -> None:
    """Put into the container what the template leaves to us."""
    if not container.get("image"):
        if defaults.image is None:
            raise NotebookError(
                "spec.template: its container names no image, and the service has none to put "
                "there. Name one in spec.template.spec.containers, or set notebook.image in the "
                "service's settings."
            )
        container["image"] = defaults.image
        container.setdefault("imagePullPolicy", defaults.image_pull_policy)
    if not (container.get("command") or container.get("args")):
        container["args"] = list(DEFAULT_ARGUMENTS)
    given = {entry["name"]: entry for entry in container.get("env") or []}
    container["env"] = [
        *(entry for entry in _environment(notebook, defaults) if entry["name"] not in given),
        *given.values(),
    ]
    path = given.get(_CONFIG_PATH)
    if path is not None and path.get("value"):
        path["value"] += f":{CONFIG_DIRECTORY}"
    mount = {"name": _CONFIG_VOLUME, "mountPath": CONFIG_DIRECTORY, "readOnly": True}
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    ports = container.setdefault("ports", [])
    if not any(port.get("containerPort") == NOTEBOOK_PORT for port in ports):
        ports.append({"name": "http", "containerPort": NOTEBOOK_PORT, "protocol": "TCP"})
    container.setdefault(
        "readinessProbe",
        {"httpGet": {"path": "/api", "port": NOTEBOOK_PORT}, "periodSeconds": 2},
    )


def _environment(notebook: Object, defaults: Defaults) -> list[Object]:
    values = {_CONFIG_PATH: CONFIG_DIRECTORY}
    reference = gateway_reference(notebook)
    if reference is not None:
        namespace, name = reference
        values |= notebook_environment(
            user=owner(notebook),
            gateway_url=gateway.url(name, namespace),
            token="",
            start_timeout=defaults.start_timeout,
        )
        del values[_GATEWAY_AUTH_TOKEN]
    # Kubernetes would put in the value of X for a `$(X)` in an owner's name.
    entries: list[Object] = [
        {"name": name, "value": value.replace("$", "$$")} for name, value in values.items()
    ]
    if reference is not None:
        key = {"name": secret_name(notebook), "key": GATEWAY_TOKEN}
        entries.append({"name": _GATEWAY_AUTH_TOKEN, "valueFrom": {"secretKeyRef": key}})
    return entries


def caller(notebook: Object) -> Object | None:
    """The entry of a gateway's status.notebooks, None while the notebook has no token yet."""
    digest = status_of(notebook).get("gatewayTokenHash")
    if digest is None or is_deleting(notebook):
        return None
    return {
        "name": name_of(notebook),
        "namespace": namespace_of(notebook),
        "owner": owner(notebook),
        "tokenHash": digest,
    }


def callers(gateway_item: Object, notebooks: Iterable[Object]) -> tuple[Object, ...]:
    """A gateway's status.notebooks: those that name it and that it takes, in a constant order."""
    own = (namespace_of(gateway_item), name_of(gateway_item))
    entries = [
        entry
        for notebook in notebooks
        if gateway_reference(notebook) == own
        and gateway.accepts(gateway_item, namespace_of(notebook))
        and (entry := caller(notebook)) is not None
    ]
    return tuple(sorted(entries, key=lambda entry: (entry["namespace"], entry["name"])))


def status(
    notebook: Object,
    *,
    deployment: Object | None,
    gateway_item: Object | None,
    gateway_token_hash: str | None,
    refusal: str | None,
    now: datetime,
) -> Object:
    """The status of a notebook; None as a value means that the field goes away.

    `gateway_item` is the JupyterGateway that it names, if there is one in a namespace that the
    service looks after; `refusal` says why one of its objects could not be made.
    """
    wanted = [
        available(deployment, "notebook server"),
        _accepted(notebook, refusal),
        _gateway_accepted(notebook, gateway_item),
    ]
    present = status_of(notebook).get("conditions") or []
    return {
        "conditions": conditions.merged(present, wanted, now),
        "url": url(name_of(notebook), namespace_of(notebook)),
        "owner": owner(notebook),
        "secretName": None if gateway_token_hash is None else secret_name(notebook),
        "gatewayTokenHash": gateway_token_hash,
        "observedGeneration": notebook["metadata"].get("generation"),
    }


def _accepted(notebook: Object, refusal: str | None) -> Condition:
    if refusal is not None:
        return Condition(ACCEPTED, False, Reason.INVALID_SPEC, refusal)
    left_out = podtemplate.metadata(spec_of(notebook).get("template") or {}).left_out
    if left_out:
        return Condition(ACCEPTED, True, Reason.CORRECTED, f"{'; '.join(left_out)}.")
    return Condition(ACCEPTED, True, Reason.ACCEPTED, "The spec is carried out.")


def _gateway_accepted(notebook: Object, gateway_item: Object | None) -> Condition:
    reference = gateway_reference(notebook)
    if reference is None:
        message = "The spec names no gateway: kernels run in the notebook's own pod."
        return Condition(GATEWAY_ACCEPTED, True, Reason.LOCAL_KERNELS, message)
    namespace, name = reference
    if gateway_item is None:
        return Condition(
            GATEWAY_ACCEPTED,
            False,
            Reason.GATEWAY_NOT_FOUND,
            f"spec.gateway: there is no JupyterGateway {name} in the namespace {namespace}, or the "
            "service doesn't look after that namespace. Create it, or name another.",
        )
    if not gateway.accepts(gateway_item, namespace_of(notebook)):
        return Condition(
            GATEWAY_ACCEPTED,
            False,
            Reason.NAMESPACE_NOT_ALLOWED,
            f"spec.gateway: the JupyterGateway {namespace}/{name} takes no notebooks of the "
            f"namespace {namespace_of(notebook)}. Its administrator can add that to its "
            "spec.notebookNamespaces.",
        )
    if caller(notebook) not in (status_of(gateway_item).get("notebooks") or []):
        message = f"The JupyterGateway {namespace}/{name} is being told of this notebook."
        return Condition(GATEWAY_ACCEPTED, False, Reason.WAITING, message)
    message = f"The JupyterGateway {namespace}/{name} takes this notebook's requests."
    return Condition(GATEWAY_ACCEPTED, True, Reason.ACCEPTED, message)
