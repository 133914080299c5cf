"""The section `gateway`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub_service.settings.section import DnsLabel, DnsName, Seconds, Section


class GatewaySettings(Section):
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
    image_pull_secrets: list[DnsName] = Field(
        default_factory=list,
        description="Names of Secrets, in the namespace of each gateway, with which its image is "
        "pulled.",
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
    cull_idle_timeout: Seconds | None = Field(
        None,
        description="Seconds after which an idle kernel of this gateway ends; 0 or less: never. "
        "Unset: culling.idleTimeout.",
    )
    kernels: list[str] = Field(
        default_factory=list, description="Names of the JupyterKernelSpecs offered; empty: all."
    )
    default_kernel: str | None = Field(None, description="The spec a new notebook starts with.")
    cluster_role: DnsLabel = Field(
        "elastic-gateway", description="ClusterRole bound to the gateway's ServiceAccount."
    )
