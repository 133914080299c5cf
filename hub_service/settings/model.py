"""All sections together, and what follows from several of them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from hub_service.settings.culling import CullingSettings
from hub_service.settings.gateways import GatewaySettings
from hub_service.settings.gpu_use import GpuUseSettings
from hub_service.settings.homes import HomeSettings, SharedVolume
from hub_service.settings.hub import HubSettings, ServiceSettings
from hub_service.settings.kernels import (
    LivenessSettings,
    OrphanSettings,
    StartSettings,
    WarmKernelSettings,
)
from hub_service.settings.ledger import LedgerSettings
from hub_service.settings.namespaces import UserNamespaceSettings
from hub_service.settings.notebooks import NotebookSettings, SpawnerSettings
from hub_service.settings.quota import QuotaSettings
from hub_service.settings.section import DnsLabel, Section
from hub_service.settings.security import PodSecuritySettings
from hub_service.settings.sharing import SharingSettings


class Settings(Section):
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
    homes: HomeSettings = HomeSettings()
    shared_volumes: list[SharedVolume] = Field(
        default_factory=list,
        description="Volumes that all kernels have, and the hub's notebooks: a class's data, for "
        "example.",
    )
    culling: CullingSettings = CullingSettings()
    gpu_use: GpuUseSettings = GpuUseSettings()
    ledger: LedgerSettings = LedgerSettings()
    sharing: SharingSettings = SharingSettings()
    orphans: OrphanSettings = OrphanSettings()
    start: StartSettings = StartSettings()
    warm_kernels: WarmKernelSettings = WarmKernelSettings()
    liveness: LivenessSettings = LivenessSettings()
    service: ServiceSettings = ServiceSettings()
    hub: HubSettings = HubSettings()
    spawner: SpawnerSettings = SpawnerSettings()
    pod_security: PodSecuritySettings = PodSecuritySettings()

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
            "imagePullSecrets": [{"name": name} for name in wanted.image_pull_secrets] or None,
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

    @field_validator("shared_volumes")
    @classmethod
    def _each_at_a_path_of_its_own(cls, value: list[SharedVolume]) -> list[SharedVolume]:
        for what, attribute in (("name", "name"), ("mountPath", "mount_path")):
            given = [getattr(one, attribute) for one in value]
            if twice := sorted({one for one in given if given.count(one) > 1}):
                raise ValueError(f"two have the same {what}: {', '.join(twice)}")
        return value

    @field_validator("namespace")
    @classmethod
    def _not_a_system_namespace(cls, value: str) -> str:
        if value.startswith("kube-"):
            raise ValueError("namespaces that begin with kube- belong to the cluster itself")
        return value
