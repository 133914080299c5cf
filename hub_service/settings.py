"""The settings an administrator writes, validated once and shared by hub and service.

`elastic_spawner.configure(c, settings)` takes them as a plain mapping (with Zero to JupyterHub:
`custom.elastic` in the values); the service gets the validated model back as JSON through the
environment variable `ELASTIC_SETTINGS`. Unknown keys are errors, so that a typo is told at
start-up and not by its absence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

ENVIRONMENT_VARIABLE = "ELASTIC_SETTINGS"
# Where the service keeps its name over restarts, see kube.identity; unset: the temporary folder.
IDENTITY_FOLDER_VARIABLE = "ELASTIC_IDENTITY_FOLDER"

# A DNS label, as Kubernetes asks of namespaces and Services.
DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


# KubeSpawner's variables that are different for each user.
_PER_USER = re.compile(r"\{(safe_|escaped_|unescaped_)?(username|user_server|userid)\}")

# Names that settings once had, here or in KubeSpawner, and what to write now.
_RENAMED = {
    "namespaceNameTemplate": "userNamespaces.template",
    "namespace_name_template": "userNamespaces.template",
    "start.timeout": "start.answerTimeout (from the container running to the kernel's first "
    "answer; each phase before it has a time-out of its own)",
}


class SettingsError(ValueError):
    """Settings that can't be used; the message names each field, its value and what is allowed."""


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=_camel, populate_by_name=True
    )


class GatewaySettings(_Section):
    """The Jupyter Enterprise Gateway that notebooks talk to."""

    mode: Literal["shared", "per-user"] = Field(
        "shared",
        description="One gateway for everybody, or one for each user, which is there while a "
        "server of theirs is. A profile may choose the other by gateway_mode.",
    )
    named_servers: Literal["shared", "separate"] = Field(
        "shared",
        description="With gateways per user: whether a user's named servers share one, or have "
        "one each.",
    )
    keep_shared: bool = Field(
        False,
        description="Run the shared gateway in mode per-user too, for profiles that choose it.",
    )
    name: DnsLabel = Field(
        "elastic-gateway", description="Name of the shared JupyterGateway and of its Service."
    )
    image: str = Field(min_length=1, description="Image of gateways, as built from images/gateway.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When the gateway's image is pulled, as in a container."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING"] = Field(
        "INFO", description="How much the gateway logs."
    )
    resources: dict[str, Any] = Field(
        default_factory=dict, description="Kubernetes resources (requests, limits) of the gateway."
    )
    replicas: int = Field(
        1,
        ge=1,
        le=10,
        description="Pods of the shared gateway. Each serves all kernels, so one may be lost at "
        "any time.",
        json_schema_extra={"unit": "pods"},
    )
    cull_idle_timeout: int | None = Field(
        None,
        description="Seconds after which an idle kernel of this gateway ends; 0 or less: never. "
        "Unset: culling.idleTimeout.",
        json_schema_extra={"unit": "seconds"},
    )
    kernels: list[str] = Field(
        default_factory=list, description="Names of the JupyterKernelSpecs offered; empty: all."
    )
    default_kernel: str | None = Field(None, description="The spec a new notebook starts with.")
    cluster_role: DnsLabel = Field(
        "elastic-gateway", description="ClusterRole bound to the gateway's ServiceAccount."
    )


class NotebookSettings(_Section):
    """Notebook servers without a hub: JupyterNotebooks. The hub's own are KubeSpawner's."""

    image: str | None = Field(
        None,
        min_length=1,
        description="Image of a JupyterNotebook whose template names none. Unset: it must.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When that image is pulled, as in a container."
    )


class UserNamespaceSettings(_Section):
    """A namespace for each user, as KubeSpawner makes them."""

    enabled: bool = Field(
        False,
        description="Whether notebooks, kernels and volumes of each user, and in mode per-user "
        "their gateway, are in a namespace of the user's own. Needs the rights in "
        "helm-values/rbac-user-namespaces.yaml.",
    )
    template: str | None = Field(
        None,
        description="The namespaces' names, with KubeSpawner's {username} or {user_server} in it. "
        "Unset: KubeSpawner.user_namespace_template where the hub's configuration sets it, else "
        "hub-{username}.",
    )

    @field_validator("template")
    @classmethod
    def _one_for_each_user(cls, value: str | None) -> str | None:
        if value is not None and not _PER_USER.search(value):
            raise ValueError(
                "must hold {username} or {user_server}, or all users would be in one namespace"
            )
        return value


class QuotaSettings(_Section):
    """What one user may hold at a time."""

    kernels_per_user: int = Field(
        2,
        ge=0,
        description="Kernels a user may have, waiting ones included.",
        json_schema_extra={"unit": "kernels"},
    )


class CullingSettings(_Section):
    """When idle kernels end."""

    idle_timeout: int = Field(
        3600,
        description="Seconds after which an idle kernel ends, where neither the kernel nor its "
        "gateway says otherwise; 0 or less: never.",
        json_schema_extra={"unit": "seconds"},
    )
    lost_server_timeout: int = Field(
        3600,
        description="Seconds after which kernels end, once idle, whose notebook server is gone "
        "without anybody having stopped it (its node was drained, its pod evicted); 0 or less: "
        "never.",
        json_schema_extra={"unit": "seconds"},
    )


class OrphanSettings(_Section):
    """What has lost its owner: kernels of a deleted gateway, pods and Secrets without a kernel."""

    grace: int = Field(
        300,
        ge=1,
        description="Seconds for which it is left, in case the owner comes back: a gateway that is "
        "deleted and made again within that time finds its kernels.",
        json_schema_extra={"unit": "seconds"},
    )


class StartSettings(_Section):
    """How long each phase of a kernel's start may take, from the click to its first answer.

    A phase's time begins when the one before it ends. The admission, scheduling, image and
    container phases are judged by the service, the kernel's first answer by its gateway.
    """

    answer_after: int = Field(
        5,
        ge=0,
        le=30,
        description="Seconds that a request for a kernel is held. A kernel that answers within "
        "them is returned running, and what is refused or fails within them is an HTTP error. "
        "After them it is returned as starting, and what comes of it is said in the notebook. "
        "Less than what proxies between a notebook and its gateway allow for a request.",
        json_schema_extra={"unit": "seconds"},
    )
    grace: int = Field(
        60,
        ge=5,
        description="Seconds after which a kernel ends that is still starting while no notebook "
        "is connected to it.",
        json_schema_extra={"unit": "seconds"},
    )
    admission_timeout: int = Field(
        60,
        description="Seconds from a kernel's creation until its pod is made; 0 or less: no end.",
        json_schema_extra={"unit": "seconds"},
    )
    scheduling_timeout: int = Field(
        28800,
        description="Seconds that its pod may wait for a node, in line for a GPU for example, or "
        "for its namespace's ResourceQuota; 0 or less: no end.",
        json_schema_extra={"unit": "seconds"},
    )
    image_timeout: int = Field(
        1800,
        description="Seconds that the pull of one image may take; 0 or less: no end.",
        json_schema_extra={"unit": "seconds"},
    )
    container_timeout: int = Field(
        600,
        description="Seconds that the rest of the pod's preparation may take, from a node being "
        "found to the kernel's container running: volumes, init containers (such as the "
        "installation of packages); 0 or less: no end.",
        json_schema_extra={"unit": "seconds"},
    )
    answer_timeout: int = Field(
        120,
        ge=5,
        description="Seconds from the container running to the kernel's first answer, where the "
        "JupyterGateway doesn't say (startTimeout).",
        json_schema_extra={"unit": "seconds"},
    )
    autoscaler: bool = Field(
        False,
        description="Whether nodes are added to the cluster as pods need them. Then a kernel "
        "that asks for more than any present node has waits, rather than fail at once. Where a "
        "cluster autoscaler has spoken of the pod in its Events, this is known anyway.",
    )

    @property
    def longest_request(self) -> int:
        """Seconds that a gateway may hold a request: a start's, or that of a restart in place."""
        return max(self.answer_after, self.answer_timeout)


class LivenessSettings(_Section):
    """What becomes of a kernel whose process does not answer any more, though it is idle."""

    timeout: int = Field(
        60,
        description="Seconds without an answer to its gateway's heartbeat after which an idle "
        "kernel's process is started again in its pod; 0 or less: never. Busy kernels are never "
        "taken for dead, nor are those that the gateway can't reach.",
        json_schema_extra={"unit": "seconds"},
    )
    restarts: int = Field(
        3,
        ge=0,
        description="How many times in a row before the kernel fails, with more time in between "
        "each time.",
        json_schema_extra={"unit": "restarts"},
    )


class ServiceSettings(_Section):
    """The hub's service, which looks after kernels and gateways."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][-a-z0-9]{1,62}$")] = Field(
        "elastic", description="Its name in the hub: /services/<name>/."
    )
    port: int = Field(
        10101,
        ge=1024,
        le=65535,
        description="Port it listens on, in the hub's pod or its own.",
        json_schema_extra={"unit": "TCP port"},
    )
    host: str | None = Field(
        None,
        min_length=1,
        description="Name under which the hub's proxy reaches the pod that the service runs in. "
        "Unset: hub, or elastic-service where it is external.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING"] = Field(
        "INFO", description="How much the service logs, into the hub's log."
    )
    metrics_port: int | None = Field(
        None,
        ge=1024,
        le=65535,
        description="Port on which it answers /metrics to Prometheus, without asking who that is: "
        "for inside the cluster only. Unset: it does not.",
        json_schema_extra={"unit": "TCP port"},
    )
    external: bool = Field(
        False,
        description="Whether the service runs as a Deployment of its own "
        "(helm-values/service.yaml) and not in the hub's pod.",
    )


class HubSettings(_Section):
    """The hub, and where its API answers to pods of other namespaces."""

    enabled: bool = Field(
        True,
        description="false: there is no hub. The service then runs by itself, for "
        "JupyterNotebooks and the JupyterGateways that they name.",
    )
    api_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+(/.*)?/hub/api$",
        description="Unset: http://hub.<the hub's namespace>:8081/hub/api.",
    )


class SpawnerSettings(_Section):
    """What ElasticSpawner does to notebook pods."""

    gpu_resources: list[str] = Field(
        ["nvidia.com/*", "amd.com/*", "gpu.intel.com/*"],
        description="Resource names (with * as wildcard) that a notebook pod may not hold.",
    )
    notebook_config: bool = Field(
        True,
        description="Put a jupyter_server configuration file into notebook pods: kernels outlive "
        "a pod that is drained and are found again by the next one, and large outputs pass.",
    )


class Settings(_Section):
    """All settings, by section."""

    namespace: DnsLabel = Field(
        "jupyter-users",
        description="Namespace of notebooks, gateways, kernels, their Secrets and volumes.",
    )
    extra_namespaces: list[DnsLabel] = Field(
        default_factory=list,
        description="Further namespaces whose gateways, kernels and JupyterNotebooks the service "
        "looks after. In each, bind it the rights that the Role elastic-service gives.",
    )
    user_namespaces: UserNamespaceSettings = UserNamespaceSettings()
    gateway: GatewaySettings
    notebook: NotebookSettings = NotebookSettings()
    quota: QuotaSettings = QuotaSettings()
    culling: CullingSettings = CullingSettings()
    orphans: OrphanSettings = OrphanSettings()
    start: StartSettings = StartSettings()
    liveness: LivenessSettings = LivenessSettings()
    service: ServiceSettings = ServiceSettings()
    hub: HubSettings = HubSettings()
    spawner: SpawnerSettings = SpawnerSettings()

    @property
    def has_shared_gateway(self) -> bool:
        """Whether there is a gateway for everybody."""
        return self.hub.enabled and (self.gateway.mode == "shared" or self.gateway.keep_shared)

    def gateway_spec(self) -> dict[str, Any]:
        """The spec of a JupyterGateway as these settings want it, the shared one or a user's."""
        wanted = self.gateway
        spec = {
            "image": wanted.image,
            "imagePullPolicy": wanted.image_pull_policy,
            "logLevel": wanted.log_level,
            "resources": wanted.resources,
            "cullIdleTimeout": wanted.cull_idle_timeout,
            "kernels": wanted.kernels,
            "defaultKernel": wanted.default_kernel,
            "clusterRole": wanted.cluster_role,
            "startTimeout": self.start.answer_timeout,
            "startAnswerAfter": self.start.answer_after,
            "startGrace": self.start.grace,
        }
        return {field: value for field, value in spec.items() if value is not None}

    @field_validator("namespace")
    @classmethod
    def _not_a_system_namespace(cls, value: str) -> str:
        if value.startswith("kube-"):
            raise ValueError("namespaces that begin with kube- belong to the cluster itself")
        return value


def parse(settings: Mapping[str, Any]) -> Settings:
    """Validate the administrator's mapping (camelCase keys, as in Helm values).

    Raises SettingsError, one line a problem: the field's path, what is wrong, the value given.
    """
    try:
        return Settings.model_validate(dict(settings))
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def dump(settings: Settings) -> str:
    """Settings as JSON for the service's environment; `load` reads it."""
    return settings.model_dump_json(by_alias=True)


def load(text: str) -> Settings:
    """Settings from the JSON of `dump`. Raises SettingsError."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{ENVIRONMENT_VARIABLE} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{ENVIRONMENT_VARIABLE} must be a mapping, not {type(data).__name__}")
    return parse(data)


def _explain(error: ValidationError) -> str:
    lines = ["The elastic settings can't be used:"]
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"]) or "(settings)"
        last = path.rpartition(".")[2]
        if new_name := _RENAMED.get(path) or _RENAMED.get(last):
            lines.append(f"  {path}: its name is {new_name} now")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"  {path}: there is no such setting; remove it or correct its name")
        elif problem["type"] == "missing":
            lines.append(f"  {path}: is required")
        else:
            lines.append(f"  {path}: {problem['msg']} (given: {problem['input']!r})")
    return "\n".join(lines)
