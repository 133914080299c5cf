"""The figures for Prometheus, of a service at work."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import AsyncHTTPClient

from hub_service import settings
from hub_service.kinds import FAILED, JUPYTER_KERNEL_SPECS, condition, name_of
from hub_service.kube import Cluster
from tests.integration.support import DEADLINE, Observed
from tests.integration.test_process import environment, started
from tests.real_hub import RealHub


class Figures(dict[tuple[str, ...], float]):
    """Values by name and label values, in the order of the labels' names."""

    @classmethod
    def of(cls, text: bytes) -> Figures:
        found = cls()
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                labels = (value for _, value in sorted(sample.labels.items()))
                found[(sample.name, *labels)] = sample.value
        return found


async def test_they_say_what_there_is_and_what_became_of_it(
    cluster: Cluster,
    namespace: str,
    start: Any,
    observed: Observed,
    config: Callable[..., settings.Settings],
    hub: RealHub,
) -> None:
    spec = {"metadata": {"name": "python"}, "spec": {"image": "x", "language": "python"}}
    body = {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        **spec,
    }
    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, body)
    free = [socket.socket() for _ in range(2)]
    for one in free:
        one.bind(("127.0.0.1", 0))
    port, metrics_port = (one.getsockname()[1] for one in free)
    for one in free:
        one.close()
    service = {"port": port, "metricsPort": metrics_port}
    built = config(service=service, quota={"kernelsPerUser": 2})

    async def figures() -> Figures:
        answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{metrics_port}/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b"ada.lovelace" not in answer.body
        return Figures.of(answer.body)

    async with started(environment(built, hub.api_url), port) as running:
        await running.ready()
        gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
        computes = await start("ada.lovelace", container=gpu)
        ends = await start("ada.lovelace", kernelSpecName="nobody-has-it", container={
            "command": ["false"]
        })  # fmt: skip
        await observed.phase(computes, "Running")
        failed = condition(await observed.phase(ends, "Failed"), FAILED)
        assert failed
        second = await start("ada.lovelace")
        await observed.phase(second, "Running")
        refused = await start("ada.lovelace")
        await observed.phase(refused, "Refused")
        expected = {
            ("elastic_leader",): 1,
            ("elastic_kernels", "Running", "python"): 2,
            ("elastic_kernels", "Failed", "other"): 1,
            ("elastic_kernels", "Refused", "python"): 1,
            ("elastic_kernels_gpus", "python"): 1,
            ("elastic_kernels_admitted_total", "python"): 2,
            ("elastic_kernels_admitted_total", "other"): 1,
            ("elastic_kernels_refused_total", "QuotaExceeded"): 1,
            ("elastic_kernels_ended_total", "Failed", failed["reason"]): 1,
            ("elastic_kernel_start_seconds_count", "python"): 2,
            ("elastic_workqueue_depth", "kernel"): 0,
        }
        async with asyncio.timeout(DEADLINE):
            while True:  # the service's own copy may be a moment behind this test's
                now = await figures()
                missing = dict(expected.items() - now.items())
                if not missing:
                    break
                await asyncio.sleep(0.1)
        assert now["elastic_reconcile_seconds_count", "kernel"] > 4
        assert now["process_resident_memory_bytes",] > 1e6
        for kernel in (computes, second):
            assert name_of(kernel) not in str(now)
