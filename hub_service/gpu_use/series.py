"""What Prometheus is asked, and what it answers. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

# Namespace and name of a pod.
Pod = tuple[str, str]

# A sample may be that much older than the last one that could be.
_LATE = 300


@dataclass(frozen=True)
class Series:
    """Which series tell of GPUs in use.

    metric: a gauge for each GPU. threshold: above it a GPU is in use. namespace, pod: the labels
    that name the pod which has it. step: seconds between samples.
    """

    metric: str
    threshold: float
    namespace: str
    pod: str
    step: int

    def last_used(self, seconds: int) -> str:
        """The question when GPUs were in use last, of each pod, in the last so many seconds."""
        used = f"timestamp({self._gauge}) and ({self._gauge} > {self.threshold:g})"
        return f"max by ({self._labels}) (max_over_time(({used})[{seconds}s:{self.step}s]))"

    @property
    def measured(self) -> str:
        """The question which pods' GPUs are measured at all."""
        return f"count by ({self._labels}) (last_over_time({self._gauge}[{_LATE}s]))"

    def values(self, body: bytes) -> dict[Pod, float]:
        """The value of each pod in an answer. ValueError where it is none."""
        try:
            answer = json.loads(body)
            if answer["status"] != "success":
                raise ValueError(str(answer.get("error") or answer["status"]))
            if answer["data"]["resultType"] != "vector":
                raise ValueError(f"a {answer['data']['resultType']}, not a vector")
            found = {}
            for one in answer["data"]["result"]:
                labels: Mapping[str, str] = one["metric"]
                pod = labels.get(self.namespace, ""), labels.get(self.pod, "")
                found[pod] = float(one["value"][1])
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not an answer of Prometheus: {error!r}") from error
        return found

    def moments(self, body: bytes) -> dict[Pod, datetime]:
        """The same, where the values are times."""
        return {
            pod: datetime.fromtimestamp(seconds, UTC) for pod, seconds in self.values(body).items()
        }

    @property
    def _gauge(self) -> str:
        return f'{self.metric}{{{self.pod}!=""}}'

    @property
    def _labels(self) -> str:
        return f"{self.namespace}, {self.pod}"
