"""The section `podSecurity`: what pods may ask for beyond the restricted standard."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hub_service.pods.podsecurity import Policy
from hub_service.settings.section import DnsLabel, Section

_Path = Annotated[str, Field(pattern=r"^/[^.]*(\.[^.]+)*$")]
_Port = Annotated[int, Field(ge=1, le=65535, json_schema_extra={"unit": "TCP port"})]


class PodSecuritySettings(Section):
    """What templates of kernels and JupyterNotebooks may ask for.

    Nothing, to begin with, that Kubernetes' restricted Pod Security Standard forbids: such a
    template is refused with a sentence that names the field. Each item here lets one thing through.
    A namespace with the label pod-security.kubernetes.io/enforce has to let it through as well.
    """

    host_paths: list[_Path] = Field(
        default_factory=list,
        description="Folders of nodes that may be mounted, with what is in them.",
    )
    volume_types: list[str] = Field(
        default_factory=list,
        description="Types of volumes that a pod may name directly, nfs for example. "
        "PersistentVolumeClaims, ConfigMaps, Secrets and the like need no mention.",
    )
    host_namespaces: bool = Field(
        False, description="Whether hostNetwork, hostPID and hostIPC are allowed."
    )
    host_ports: list[_Port] = Field(
        default_factory=list, description="Ports of the node that containers may take."
    )
    privileged: bool = Field(False, description="Whether containers may be privileged.")
    privilege_escalation: bool = Field(
        False, description="Whether allowPrivilegeEscalation is allowed, which sudo needs."
    )
    capabilities: list[str] = Field(
        default_factory=list, description="Capabilities that containers may add."
    )
    root: bool = Field(
        False,
        description="Whether containers may run as root. With it, images that do so by themselves "
        "start as well.",
    )
    unconfined: bool = Field(
        False,
        description="Whether containers may do without the seccomp and AppArmor profiles of their "
        "runtime, keep capabilities, and set sysctls.",
    )
    service_accounts: list[DnsLabel] = Field(
        default_factory=list,
        description="ServiceAccounts that a template may name beside `default`.",
    )
    run_as_user: int | None = Field(
        None,
        ge=1,
        json_schema_extra={"unit": "user id"},
        description="User id of kernels whose template names none, for images that would run as "
        "root. Unset: the image's own.",
    )

    @property
    def is_standard(self) -> bool:
        """Whether nothing is allowed beyond the restricted standard."""
        return self.policy() == Policy(
            service_accounts=tuple(self.service_accounts), run_as_user=self.run_as_user
        )

    def policy(self) -> Policy:
        """The same, for decisions."""
        return Policy(
            host_paths=tuple(self.host_paths),
            volume_types=tuple(self.volume_types),
            host_namespaces=self.host_namespaces,
            host_ports=tuple(self.host_ports),
            privileged=self.privileged,
            privilege_escalation=self.privilege_escalation,
            capabilities=tuple(self.capabilities),
            root=self.root,
            unconfined=self.unconfined,
            service_accounts=tuple(self.service_accounts),
            run_as_user=self.run_as_user,
        )
