"""The ways to install a hub that the end-to-end tests run in.

Every test runs with a shared gateway; those marked `both_modes` also with gateways per user. With
ALL_MODES=1 (`make test-modes`) all tests run in all modes, namespaces per user included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hub_service.names import user_gateway_name


@dataclass(frozen=True)
class Mode:
    """One of them, by the settings that it differs in, and where things are then."""

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)

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


_PER_USER = {"gateway": {"mode": "per-user"}}
_NAMESPACES = {"userNamespaces": {"enabled": True}}
MODES = {
    mode.name: mode
    for mode in (
        Mode("shared"),
        Mode("per-user", _PER_USER),
        Mode("shared-namespaces", _NAMESPACES),
        Mode("per-user-namespaces", {**_PER_USER, **_NAMESPACES}),
    )
}
