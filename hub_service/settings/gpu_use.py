"""The section `gpuUse`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from hub_service.gpu_use.series import Series
from hub_service.gpu_use.use import Rule
from hub_service.settings.section import Seconds, Section

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
_Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class GpuUseSettings(Section):
    """What kernels' GPUs do, by a Prometheus that scrapes DCGM's exporter. docs/gpu-use.md."""

    prometheus_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+(/\S*)?$",
        description="Where Prometheus answers, such as http://prometheus.monitoring:9090. Unset: "
        "what GPUs do is not asked for.",
    )
    metric: _Name = Field(
        "DCGM_FI_DEV_GPU_UTIL",
        description="The series that tell how much each GPU does, labelled with the pod that has "
        "it.",
    )
    threshold: float = Field(
        5,
        ge=0,
        json_schema_extra={"unit": "as the metric's, %"},
        description="Above it a GPU is in use.",
    )
    namespace_label: _Label = Field(
        "namespace",
        description="The label with the pod's namespace; exported_namespace where Prometheus does "
        "not honor the exporter's labels.",
    )
    pod_label: _Label = Field(
        "pod", description="The label with the pod's name; exported_pod in the same case."
    )
    interval: Seconds = Field(30, ge=5, le=600, description="Seconds between two questions.")
    lookback: Seconds = Field(
        7200,
        ge=60,
        description="How many seconds the first question after a start reaches back.",
    )
    when_unknown: Literal["keep", "ignore"] = Field(
        "keep",
        description="What becomes of idle kernels with GPUs while Prometheus does not answer: they "
        "are kept, or end as if it were not asked.",
    )
    unused_after: Seconds = Field(
        3600,
        description="Seconds for which a kernel's GPUs do nothing before its status says so; 0 or "
        "less: never.",
    )

    @property
    def series(self) -> Series:
        """What is asked for."""
        return Series(
            self.metric, self.threshold, self.namespace_label, self.pod_label, _STEP_SECONDS
        )

    @property
    def rule(self) -> Rule:
        """What follows from the answers."""
        after = timedelta(seconds=self.unused_after) if self.unused_after > 0 else None
        recent = timedelta(seconds=2 * self.interval + _STEP_SECONDS)
        fresh = timedelta(seconds=4 * self.interval)
        return Rule(recent, fresh, self.when_unknown == "keep", after)


# No exporter is scraped much more often.
_STEP_SECONDS = 15
