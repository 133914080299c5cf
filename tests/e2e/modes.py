"""The ways to install a hub that the end-to-end tests run in.

Every test runs with a shared gateway; those marked `both_modes` also with gateways per user. With
ALL_MODES=1 (`make test-modes`) all tests run in all modes, namespaces per user included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from demo.install import ROOT
from hub_service.names import user_gateway_name


@dataclass(frozen=True)
class Mode:
    """One of them, by the settings that it differs in, and where things are then."""

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    profiles: list[Any] = field(default_factory=list)  # of the spawn page, beside the tests' own

    @property
    def has_class_data(self) -> bool:
        """Whether kernels have the volume of examples/course."""
        return self.overrides.get("sharedVolumes") == _CLASS_DATA["sharedVolumes"]

    @property
    def is_per_user(self) -> bool:
        """Whether users have gateways of their own."""
        return bool(self.overrides.get("gateway"))

    @property
    def has_user_namespaces(self) -> bool:
        """Whether users have namespaces of their own."""
        return bool(self.overrides.get("userNamespaces"))

    def namespace_of(self, user: str, shared: str) -> str:
        """Where a user's notebooks and kernels are; `user` is a name that is as good as a slug."""
        return f"hub-{user}" if self.has_user_namespaces else shared

    def gateway_of(self, user: str, shared: str) -> tuple[str, str]:
        """Namespace and name of a user's JupyterGateway."""
        if self.is_per_user:
            return self.namespace_of(user, shared), user_gateway_name(user)
        return shared, "elastic-gateway"


# What examples/course has of the settings: without a namespace for each user, one claim does.
_CLASS_DATA = {
    "sharedVolumes": [{"name": "class-data", "mountPath": "/data", "claim": "class-data"}]
}
_PER_USER = {"gateway": {"mode": "per-user"}}
_NAMESPACES = {"userNamespaces": {"enabled": True}}


def _team() -> Mode:
    """helm-values/namespaces-per-user.yaml, and a folder that the team shares."""
    values = yaml.safe_load((ROOT / "helm-values" / "namespaces-per-user.yaml").read_text())
    folder = {"name": "team", "mountPath": "/srv/team", "claim": "team", "readOnly": False}
    overrides = {**values["custom"]["elastic"], "sharedVolumes": [folder]}
    return Mode("team", overrides, values["singleuser"]["profileList"])


MODES = {
    mode.name: mode
    for mode in (
        Mode("shared"),
        Mode("per-user", _PER_USER),
        Mode("shared-namespaces", _NAMESPACES),
        Mode("per-user-namespaces", {**_PER_USER, **_NAMESPACES}),
    )
}
# For the tests that say so by a mark of that name, and no others.
SPECIAL = {mode.name: mode for mode in (Mode("course", _CLASS_DATA), _team())}
