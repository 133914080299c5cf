"""What follows for a kernel from the use of its GPUs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.culling import Activity
from hub_service.gpu_use.series import Pod
from hub_service.kinds import Object, namespace_of, status_of


@dataclass(frozen=True)
class Known:
    """What Prometheus said. at: when; last_used: of pods whose GPUs were in use, as far as it was
    asked; measured: pods of whose GPUs there are samples.
    """

    at: datetime
    last_used: Mapping[Pod, datetime] = field(default_factory=dict)
    measured: frozenset[Pod] = frozenset()

    def followed_by(
        self, at: datetime, last_used: Mapping[Pod, datetime], measured: frozenset[Pod]
    ) -> Known:
        """With a newer answer; what was known of pods that are still measured stays."""
        kept = {pod: moment for pod, moment in self.last_used.items() if pod in measured}
        return Known(at, {**kept, **last_used}, measured)


@dataclass(frozen=True)
class Rule:
    """recent: what was in use so shortly before an answer is in use until the next one: samples
    come late. fresh: how old an answer may be. keep_unknown: whether kernels with GPUs stay while
    there is none. unused_after: for how long GPUs do nothing before that is noted; None: it is not.
    """

    recent: timedelta
    fresh: timedelta
    keep_unknown: bool
    unused_after: timedelta | None


def pod_of(kernel: Object) -> Pod | None:
    """The pod whose GPUs a kernel has; None where it has none."""
    status = status_of(kernel)
    if not status.get("gpus") or not status.get("podName"):
        return None
    return namespace_of(kernel), status["podName"]


def is_known(known: Known | None, rule: Rule, now: datetime) -> bool:
    """Whether there is an answer that is new enough."""
    return known is not None and now - known.at <= rule.fresh


def in_use(kernel: Object, known: Known | None, rule: Rule) -> bool:
    """Whether a kernel's GPUs are in use, by the last answer."""
    pod = pod_of(kernel)
    last = known.last_used.get(pod) if known is not None and pod is not None else None
    return known is not None and last is not None and known.at - last <= rule.recent


def observed(
    kernel: Object, activity: Activity, known: Known | None, rule: Rule, now: datetime
) -> Activity:
    """A kernel's activity, GPUs in use being some.

    Only what is idle for its gateway can change by it: what is at work stays so. GPUs of which
    there are no samples say nothing.
    """
    pod = pod_of(kernel)
    if activity.idle_since is None or pod is None:
        return activity
    if known is None or not is_known(known, rule, now):
        if not rule.keep_unknown:
            return activity
        return replace(
            activity, idle_since=None, occupation="idle, but whether its GPUs are is not known"
        )
    if in_use(kernel, known, rule):
        return replace(activity, idle_since=None, occupation="idle, but its GPUs are in use")
    last = known.last_used.get(pod)
    if last is None:
        return activity
    return replace(activity, idle_since=max(activity.idle_since, last))


def unused_since(kernel: Object, known: Known, rule: Rule) -> datetime | None:
    """Since when a kernel's GPUs are known to do nothing, if that is long enough to be noted.

    It ends nothing: a kernel that is busy may read files for hours before it trains.
    """
    pod, started = pod_of(kernel), timestamps.parse(status_of(kernel).get("startTime"))
    if rule.unused_after is None or pod not in known.measured or started is None:
        return None
    since = max(started, known.last_used.get(pod, started))
    return since if known.at - since >= rule.unused_after else None
