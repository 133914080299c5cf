"""The section `userNamespaces`."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from hub_service.settings.section import Section

# KubeSpawner's variables that are different for each user.
_PER_USER = re.compile(r"\{(safe_|escaped_|unescaped_)?(username|user_server|userid)\}")


class UserNamespaceSettings(Section):
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
