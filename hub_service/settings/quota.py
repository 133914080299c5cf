"""The section `quota`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from hub_service.quotas import limits, quota
from hub_service.quotas.limits import KERNELS, Policy
from hub_service.settings.section import Section

# A text such as 32Gi, or a number.
_Amounts = dict[str, str | int | float]


class QuotaSettings(Section):
    """What one user may hold at a time. Limits of groups are written on the hub's groups."""

    kernels_per_user: int = Field(
        2,
        ge=0,
        description="Kernels a user may have, waiting ones included, where neither a group of "
        "theirs nor `users` says otherwise.",
        json_schema_extra={"unit": "kernels"},
    )
    resources_per_user: _Amounts = Field(
        default_factory=dict,
        description="What the kernels of a user may request together, by the name of the resource: "
        "GPUs (nvidia.com/gpu), cpu, memory, ephemeral-storage. One that isn't there has no limit.",
    )
    users: dict[str, _Amounts] = Field(
        default_factory=dict,
        description="Limits of single users, by their names in the hub: kernels, and resources as "
        "in `resourcesPerUser`; `unlimited` for none. They count before all others.",
    )
    when_full: Literal["refuse", "wait"] = Field(
        "refuse",
        description="What becomes of a start over a limit: it is refused at once, or waits, as "
        "long as `start.schedulingTimeout`, for another kernel of the same user to end.",
    )
    contact: str = Field(
        "your administrator",
        min_length=1,
        max_length=200,
        description="Whom to ask for more, as it ends a sentence in JupyterLab: `the help desk, "
        "gpu@example.org`.",
    )

    @property
    def policy(self) -> Policy:
        """The limits as numbers."""
        default = {KERNELS: self.kernels_per_user, **self.resources_per_user}
        return Policy(
            _numbers(default), {user: _numbers(amounts) for user, amounts in self.users.items()}
        )

    @property
    def rules(self) -> quota.Rules:
        """What becomes of starts over a limit."""
        return quota.Rules(self.when_full, self.contact)

    @field_validator("resources_per_user", mode="before")
    @classmethod
    def _no_kernels(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and KERNELS in value:
            raise ValueError("write the number of kernels as quota.kernelsPerUser")
        return _checked(value)

    @field_validator("users", mode="before")
    @classmethod
    def _of_each(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for user, amounts in value.items():
                try:
                    _checked(amounts)
                except ValueError as error:
                    raise ValueError(f"of {user}: {error}") from None
        return value


def _checked(amounts: Any) -> Any:
    if isinstance(amounts, Mapping):
        _numbers(amounts)
    return amounts


def _numbers(amounts: Mapping[str, object]) -> limits.Amounts:
    return {resource: limits.amount(resource, value) for resource, value in amounts.items()}
