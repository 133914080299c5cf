"""The section `sharing`: in which order those get GPUs who wait for them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from hub_service.settings.section import Section


class KueueSettings(Section):
    """Kernels with GPUs in queues of Kueue, where that is installed (helm-values/kueue.yaml)."""

    enabled: bool = Field(
        False,
        description="Whether kernels may be in Kueue's queues. What they wait for there is told "
        "from its Workloads, which the service has to have the right to read.",
    )
    queue: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] | None = Field(
        None,
        description="LocalQueue, in the users' namespaces, of kernels with GPUs whose template has "
        "no label kueue.x-k8s.io/queue-name. Unset: those wait in the service's own line.",
    )

    @model_validator(mode="after")
    def _enabled_for_a_queue(self) -> Self:
        if self.queue and not self.enabled:
            raise ValueError(f"queue {self.queue}: set enabled: true as well, or leave it out")
        return self


class SharingSettings(Section):
    """In which order those get GPUs who wait for them. When idle kernels are reclaimed for them is
    in `culling` (`reclaimAfter`).
    """

    fair: bool = Field(
        True,
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

    kueue: KueueSettings = KueueSettings()

    def most_released(self, *, autoscaler: bool) -> int:
        """How many of each line that don't fit are let on to the scheduler."""
        return self.released or (10 if autoscaler else 1)
