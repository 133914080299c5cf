"""Figures for Prometheus: what kernels there are, what became of them, how the service is doing.

What is there is read from the copies when somebody asks. What happens is counted while the service
leads: with several running, their sums are right. No figure names a user unless that is asked for:
there would be as many series as people, and everybody who may read figures would see who computes
when.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hub_service import timestamps
from hub_service.kernels import kernel
from hub_service.kinds import (
    ADMITTED,
    CULLED,
    FAILED,
    SUCCEEDED,
    Object,
    Phase,
    condition,
    name_of,
    namespace_of,
    spec_of,
    status_of,
)
from hub_service.kube import Controller, Key
from hub_service.ledger.books import Account, Amounts
from hub_service.ledger.figures import GpuSeconds
from hub_service.watches import Watches

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Kernel specs that are not, or no longer, there: anybody may write any name into a kernel.
OTHER = "other"
_START_SECONDS = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_RECONCILE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)


class Metrics:
    """The figures of one process; an observer of its controllers and watches.

    user_figures: whether the ledger's have a series for each user.
    """

    def __init__(self, watches: Watches, *, user_figures: bool = False) -> None:
        self._watches = watches
        self._registry = CollectorRegistry()
        self._registry.register(_Current(self))
        ProcessCollector(registry=self._registry)
        registry = self._registry
        self.controllers: Sequence[Controller] = ()
        self._leader = Gauge(
            "elastic_leader", "Whether this process acts (1) or stands by (0).", registry=registry
        )
        self._admitted = Counter(
            "elastic_kernels_admitted", "Kernels admitted.", ["spec"], registry=registry
        )
        self._refused = Counter(
            "elastic_kernels_refused", "Kernels refused.", ["reason"], registry=registry
        )
        self._started = Histogram(
            "elastic_kernel_start_seconds",
            "From a kernel's creation to its pod's running, its first one.",
            ["spec"],
            buckets=_START_SECONDS,
            registry=registry,
        )
        self._warm = Counter(
            "elastic_kernels_warm_started",
            "Kernels that ran in a warm pod.",
            ["spec"],
            registry=registry,
        )
        self._ended = Counter(
            "elastic_kernels_ended",
            "Kernels that ended, by condition (Failed, Succeeded, Culled) and its reason.",
            ["condition", "reason"],
            registry=registry,
        )
        self._reconciled = Histogram(
            "elastic_reconcile_seconds",
            "Reconciliations.",
            ["controller"],
            buckets=_RECONCILE_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "elastic_reconcile_errors",
            "Reconciliations that failed and are tried again.",
            ["controller"],
            registry=registry,
        )
        self._gpu_seconds = GpuSeconds(registry, user_figures=user_figures)
        self._watches_broke = Counter(
            "elastic_watch_restarts",
            "Watches that broke off and were taken up again.",
            ["resource", "reason"],
            registry=registry,
        )

    def rendered(self) -> bytes:
        """All figures in the text format, whose type is CONTENT_TYPE."""
        return generate_latest(self._registry)

    def leading(self, leads: bool) -> None:
        """Acting has begun or ended."""
        self._leader.set(1 if leads else 0)

    def reconciled(self, controller: str, seconds: float, *, failed: bool) -> None:
        """See kube.observer."""
        self._reconciled.labels(controller).observe(seconds)
        if failed:
            self._errors.labels(controller).inc()

    def watch_broke(self, resource: str, reason: str) -> None:
        """See kube.observer."""
        self._watches_broke.labels(resource, reason).inc()

    def note_kernel(self, _key: Key, old: Object | None, new: Object | None) -> None:
        """Count what a kernel's change says; a reflector's listener."""
        if new is None or not self._watches.scope.covers(namespace_of(new)):
            return
        admitted = came_to(ADMITTED, old, new)
        if admitted:
            if admitted["status"] == "True":
                self._admitted.labels(self.spec_label(new)).inc()
            else:
                self._refused.labels(admitted["reason"]).inc()
        for kind in (FAILED, SUCCEEDED, CULLED):
            end = came_to(kind, old, new)
            if end and end["status"] == "True":
                self._ended.labels(kind, end["reason"]).inc()
        if is_first_running(old, new):
            if status_of(new).get("podName") != kernel.pod_of_incarnation(new):
                self._warm.labels(self.spec_label(new)).inc()
            created = timestamps.parse(new["metadata"].get("creationTimestamp"))
            if created is not None:
                seconds = max((timestamps.now() - created).total_seconds(), 0.0)
                self._started.labels(self.spec_label(new)).observe(seconds)

    def booked(self, account: Account, amounts: Amounts, groups: Iterable[str]) -> None:
        """Count what the ledger has booked, for a user who is in these groups."""
        self._gpu_seconds.add(self._spec(account.spec), account.user, groups, amounts)

    def spec_label(self, item: Object) -> str:
        """The name of a kernel's spec, if there is one."""
        return self._spec(spec_of(item).get("kernelSpecName"))

    def _spec(self, name: str | None) -> str:
        known = name and any(name_of(spec) == name for spec in self._watches.kernel_specs.store)
        return str(name) if known else OTHER

    def current(self) -> Iterator[Metric]:
        """What is there now."""
        phases: Tally[tuple[str, ...]] = Tally()
        gpus: Tally[tuple[str, ...]] = Tally()
        unused: Tally[tuple[str, ...]] = Tally()
        names = {name_of(spec) for spec in self._watches.kernel_specs.store}
        for item in self._watches.kernels.store:
            if not self._watches.scope.covers(namespace_of(item)):
                continue
            name = spec_of(item).get("kernelSpecName")
            spec = name if name in names else OTHER
            phases[status_of(item).get("phase") or Phase.PENDING, spec] += 1
            if kernel.is_admitted(item):
                held = int(status_of(item).get("gpus") or 0)
                gpus[(spec,)] += held
                if status_of(item).get("gpusUnusedSince"):
                    unused[(spec,)] += held
        yield _family("elastic_kernels", "Kernels that are there.", ("phase", "spec"), phases)
        yield _family(
            "elastic_kernels_gpus",
            "GPUs that kernels hold or wait for.",
            ("spec",),
            gpus,
        )
        yield _family(
            "elastic_kernels_gpus_unused",
            "GPUs that do nothing for long, by what Prometheus said of them.",
            ("spec",),
            unused,
        )
        warm: Tally[tuple[str, ...]] = Tally()
        for spec in self._watches.kernel_specs.store:
            if found := status_of(spec).get("warm"):
                warm[(name_of(spec),)] += int(found["ready"])
        yield _family(
            "elastic_warm_pods", "Pods that wait for a kernel, ready to be one.", ("spec",), warm
        )
        yield _family(
            "elastic_workqueue_depth",
            "Objects that wait to be reconciled.",
            ("controller",),
            {(controller.name,): len(controller.queue) for controller in self.controllers},
        )


def came_to(kind: str, old: Object | None, new: Object) -> Object | None:
    """A condition that says something else than before, or of another incarnation."""
    after, before = condition(new, kind), condition(old, kind) if old else None
    if after is None:
        return None
    same = before is not None and before["status"] == after["status"]
    same_pod = old is not None and _incarnation(old) == _incarnation(new)
    return None if same and (same_pod or kind == ADMITTED) else after


def is_first_running(old: Object | None, new: Object) -> bool:
    """Whether a kernel runs now that did not, and has never been restarted with another pod."""
    phases = [status_of(item).get("phase") for item in (old or {}, new)]
    return phases[1] == Phase.RUNNING != phases[0] and not _incarnation(new)


def _incarnation(item: Object) -> int:
    return int(status_of(item).get("incarnation") or 0)


def _family(
    name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], int]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


class _Current(Collector):
    """Calls `Metrics.current` at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.current()

    def describe(self) -> Iterable[Metric]:
        return ()
