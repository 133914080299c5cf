"""The sections `hub` and `service`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hub_service.settings.section import Port, Section


class HubSettings(Section):
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


class ServiceSettings(Section):
    """The hub's service, which looks after kernels and gateways."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][-a-z0-9]{1,62}$")] = Field(
        "elastic", description="Its name in the hub: /services/<name>/."
    )
    port: Port = Field(
        10101,
        description="Port it listens on, in the hub's pod or its own.",
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
    metrics_port: Port | None = Field(
        None,
        description="Port on which it answers /metrics to Prometheus, without asking who that is: "
        "for inside the cluster only. Unset: it does not.",
    )
    external: bool = Field(
        False,
        description="Whether the service runs as a Deployment of its own "
        "(helm-values/service.yaml) and not in the hub's pod.",
    )
