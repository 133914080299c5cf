"""The section `ledger`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from hub_service.settings.section import Section


class LedgerSettings(Section):
    """What is kept of the GPU-seconds that kernels held, used and gave back."""

    enabled: bool = Field(True, description="Whether it is kept at all.")
    retention_days: int = Field(
        400,
        ge=1,
        description="Days after which a day of it is deleted. It names users.",
        json_schema_extra={"unit": "days"},
    )
    user_figures: bool = Field(
        False,
        description="Whether the figures for Prometheus have a series for each user as well. "
        "Whoever may read figures then sees who computes when.",
    )

    @property
    def retention(self) -> timedelta:
        """How long days are kept."""
        return timedelta(days=self.retention_days)
