"""What the service learns of GPUs from a real Prometheus, and does of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_service import culling, timestamps
from hub_service.culling import Confirm, Keep, Policy
from hub_service.culling import activity as activities
from hub_service.gpu_use.prometheus import Prometheus, PrometheusError
from hub_service.kinds import Object, name_of, status_of
from hub_service.kube.store import Store
from hub_service.reconcile.gpu_use import GpuUse
from hub_service.settings.gpu_use import GpuUseSettings
from tests.prometheus.conftest import Running

POLICY = Policy(idle_timeout=1200)


class Cluster:
    """Kernels, and an API server that takes patches of their status."""

    def __init__(self, *kernels: Object) -> None:
        self.store = Store()
        for kernel in kernels:
            self.store.put(kernel)

    async def merge_patch(
        self, _resource: Any, namespace: str, name: str, body: Object, *, subresource: str
    ) -> Object:
        assert subresource == "status"
        kernel = self.store.get((namespace, name))
        assert kernel is not None
        status = {**status_of(kernel), **body["status"]}
        return {**kernel, "status": {k: v for k, v in status.items() if v is not None}}

    def record(self, item: Object) -> None:
        self.store.record(item)


def a_kernel(name: str, now: float, *, idle: float | None, gpus: int = 1) -> Object:
    """Idle since so many minutes, or busy, in a pod that has run for two hours and a half."""
    moment = datetime.fromtimestamp(now, UTC)
    since = moment - timedelta(minutes=idle or 0)
    return {
        "metadata": {"name": name, "namespace": "users", "uid": name, "resourceVersion": "1"},
        "spec": {},
        "status": {
            "phase": "Running",
            "gpus": gpus,
            "podName": name,
            "startTime": timestamps.seconds(moment - timedelta(minutes=150)),
            "activity": {
                "executionState": "busy" if idle is None else "idle",
                "lastActivity": timestamps.microseconds(since),
                "idleSince": None if idle is None else timestamps.microseconds(since),
            },
        },
    }


class Service:
    """The part of the service that asks Prometheus."""

    def __init__(self, url: str, *kernels: Object, **written: Any) -> None:
        wanted = GpuUseSettings.model_validate({"prometheusUrl": url, **written})
        self.cluster = Cluster(*kernels)
        self.looked_at: list[str] = []
        self.use = GpuUse(
            self.cluster,  # type: ignore[arg-type]
            Prometheus(url),
            wanted.series,
            wanted.rule,
            kernels=self.cluster,  # type: ignore[arg-type]
            covers=lambda _: True,
            look_at=lambda key: self.looked_at.append(key.name),
            interval=wanted.interval,
            lookback=wanted.lookback,
        )

    def kernel(self, name: str) -> Object:
        found = self.cluster.store.get(("users", name))
        assert found is not None
        return found

    def idle_minutes(self, name: str, now: float) -> float | None:
        """For how long a kernel counts as idle."""
        kernel = self.kernel(name)
        since = self.use.observed(kernel, activities.of(kernel)).idle_since
        return None if since is None else (now - since.timestamp()) / 60

    def verdict(self, name: str) -> culling.Verdict:
        kernel = self.kernel(name)
        activity = self.use.observed(kernel, activities.of(kernel))
        return culling.decide(kernel, activity, POLICY, None, timestamps.now())


async def test_gpus_in_use_extend_a_kernel_and_only_those(prometheus: Running) -> None:
    now = prometheus.now
    names = ("trains", "trained", "reads", "flickers", "two", "unmeasured")
    kernels = [a_kernel(f"kernel-{name}", now, idle=100) for name in names]
    service = Service(prometheus.url, *kernels)
    # Before the first answer nothing is known.
    assert isinstance(service.verdict("kernel-reads"), Keep)
    await service.use.ask()
    minutes = {name: service.idle_minutes(f"kernel-{name}", now) for name in names}
    assert minutes == {
        # A thread in the background that works on.
        "trains": None,
        # One that has ended since.
        "trained": pytest.approx(50, abs=0.5),
        "reads": pytest.approx(100),
        # Less than 5 % is nobody's work.
        "flickers": pytest.approx(100),
        # Of two GPUs one was in use.
        "two": pytest.approx(25, abs=0.5),
        "unmeasured": pytest.approx(100),
    }
    kept = {name for name in names if isinstance(service.verdict(f"kernel-{name}"), Keep)}
    assert kept == {"trains"}
    assert isinstance(service.verdict("kernel-trained"), Confirm)
    # All that were kept for want of an answer are looked at again.
    assert sorted(service.looked_at) == sorted(map(name_of, kernels))


async def test_a_lower_threshold_counts_what_flickers(prometheus: Running) -> None:
    kernel = a_kernel("kernel-flickers", prometheus.now, idle=100)
    service = Service(prometheus.url, kernel, threshold=2)
    await service.use.ask()
    minutes = service.idle_minutes("kernel-flickers", prometheus.now)
    assert minutes == pytest.approx(10, abs=0.5)


async def test_a_busy_kernel_whose_gpu_does_nothing_says_so_and_stays(prometheus: Running) -> None:
    now = prometheus.now
    kernels = [a_kernel(f"kernel-{name}", now, idle=None) for name in ("reads", "trains", "two")]
    service = Service(prometheus.url, *kernels)
    await service.use.ask()
    started = kernels[0]["status"]["startTime"]
    assert service.kernel("kernel-reads")["status"]["gpusUnusedSince"] == started
    for name in ("kernel-trains", "kernel-two"):
        assert "gpusUnusedSince" not in service.kernel(name)["status"]
    assert isinstance(service.verdict("kernel-reads"), Keep)


async def test_a_kernel_is_looked_at_when_its_gpus_turn_to_work(prometheus: Running) -> None:
    now = prometheus.now
    service = Service(
        prometheus.url,
        a_kernel("kernel-trains", now, idle=100),
        a_kernel("kernel-reads", now, idle=100),
    )
    await service.use.ask()
    service.looked_at.clear()
    await service.use.ask()
    # No newer sample than at the first time.
    assert service.looked_at == []
    known = service.use._known
    assert known is not None
    an_hour = timedelta(hours=1)
    before = {pod: moment - an_hour for pod, moment in known.last_used.items()}
    service.use._known = replace(known, last_used=before)
    await service.use.ask()
    assert service.looked_at == ["kernel-trains"]


async def test_series_under_other_names(prometheus: Running) -> None:
    kernel = a_kernel("kernel-trains", prometheus.now, idle=100)
    service = Service(prometheus.url, kernel, podLabel="exported_pod")
    await service.use.ask()
    assert service.idle_minutes("kernel-trains", prometheus.now) == pytest.approx(100)


async def test_a_question_that_prometheus_refuses_leaves_kernels_as_they_are(
    prometheus: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PrometheusError, match=r"answers 400: .*parse error"):
        await Prometheus(prometheus.url).query("max by (")
    service = Service(f"{prometheus.url}/nowhere", a_kernel("kernel-reads", 0.0, idle=100))
    await service.use.ask()
    assert isinstance(service.verdict("kernel-reads"), Keep)
    assert "whether GPUs are in use is not known" in caplog.text
    assert service.looked_at == []
