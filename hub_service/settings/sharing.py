"""The section `sharing`: in which order those get GPUs who wait for them."""

from __future__ import annotations

from pydantic import Field

from hub_service.settings.section import Section


class SharingSettings(Section):
    """In which order those get GPUs who wait for them. When idle kernels are reclaimed for them is
    in `culling` (`reclaimAfter`).
    """

    fair: bool = Field(
        False,
        description="Whether kernels that wait for GPUs stand in a line of the service's own, in "
        "which those who hold the fewest GPUs come first, and of those whoever waits longest. "
        "Their pods wait behind a scheduling gate, which Kubernetes has since 1.27. false: as the "
        "scheduler takes them.",
    )
    released: int | None = Field(
        None,
        ge=1,
        json_schema_extra={"unit": "kernels"},
        description="How many of each line that don't fit are let on to the scheduler, as node "
        "autoscalers look only at those, and the scheduler knows better what is free. It takes "
        "them in its own order. Unset: 1, or 10 with `start.autoscaler`.",
    )

    def most_released(self, *, autoscaler: bool) -> int:
        """How many of each line that don't fit are let on to the scheduler."""
        return self.released or (10 if autoscaler else 1)
