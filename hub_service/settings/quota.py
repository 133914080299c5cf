"""The section `quota`."""

from __future__ import annotations

from pydantic import Field

from hub_service.settings.section import Section


class QuotaSettings(Section):
    """What one user may hold at a time."""

    kernels_per_user: int = Field(
        2,
        ge=0,
        description="Kernels a user may have, waiting ones included.",
        json_schema_extra={"unit": "kernels"},
    )
