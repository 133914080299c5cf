"""Kernels whose GPUs are in use stay; those of whose GPUs nothing is known, too.

Prometheus here is a small HTTP server; tests/prometheus has a real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from hub_service import timestamps
from hub_service.kinds import Object, name_of, spec_of
from tests.integration.gateway_stand_in import GATEWAY, StandIn
from tests.integration.support import Observed

GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}


class Prometheus:
    """Answers for one pod: whether its GPU is measured, and in use at every moment."""

    def __init__(self) -> None:
        self.pod: tuple[str, str] | None = None
        self.answers = False
        self.in_use = False
        self.url = ""

    async def query(self, request: web.Request) -> web.Response:
        if not self.answers:
            return web.Response(status=503, text="not now")
        expression = (await request.post())["query"]
        asks_for_use = "timestamp" in str(expression)
        result: list[Object] = []
        if self.pod is not None and (self.in_use or not asks_for_use):
            namespace, pod = self.pod
            now = timestamps.now().timestamp()
            labels = {"namespace": namespace, "pod": pod}
            result.append({"metric": labels, "value": [now, str(now if asks_for_use else 1)]})
        data = {"resultType": "vector", "result": result}
        return web.json_response({"status": "success", "data": data})


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    answering = Prometheus()
    application = web.Application()
    application.router.add_post("/api/v1/query", answering.query)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    answering.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield answering
    await runner.cleanup()


async def test_a_kernel_stays_while_its_gpu_is_in_use_or_nothing_is_known_of_it(
    serving: Any,
    start: Any,
    report: Any,
    namespace: str,
    observed: Observed,
    stand_in: StandIn,
    prometheus: Prometheus,
) -> None:
    async def others_end(owner: str) -> None:
        """A kernel without GPU that is idle after ours is culled; ours was not asked about."""
        probe = await observed.phase(await start(owner, **GATEWAY), "Running")
        await report(probe, "idle")
        await observed.gone(probe)
        assert spec_of(kernel)["kernelID"] not in [asked[0] for asked in stand_in.asked]

    use = {"prometheusUrl": prometheus.url, "interval": 5, "unusedAfter": 1}
    async with serving(2, gpuUse=use):
        kernel = await observed.phase(await start(container=GPU, **GATEWAY), "Running")
        prometheus.pod = (namespace, name_of(kernel))
        await report(kernel, "idle")
        await others_end("bob")
        prometheus.answers = prometheus.in_use = True
        await others_end("carol")
        # Its thread has ended.
        prometheus.in_use = False
        await observed.gone(kernel)
    assert spec_of(kernel)["kernelID"] in [asked[0] for asked in stand_in.asked]


async def test_a_busy_kernel_says_that_its_gpu_does_nothing_until_it_does(
    serving: Any,
    start: Any,
    report: Any,
    namespace: str,
    observed: Observed,
    prometheus: Prometheus,
) -> None:
    prometheus.answers = True
    use = {"prometheusUrl": prometheus.url, "interval": 5, "unusedAfter": 1}
    async with serving(2, gpuUse=use):
        kernel = await observed.phase(await start(container=GPU, **GATEWAY), "Running")
        await report(kernel, "busy")
        prometheus.pod = (namespace, name_of(kernel))
        await observed.kernel(kernel, lambda status: status.get("gpusUnusedSince"))
        prometheus.in_use = True
        await observed.kernel(kernel, lambda status: not status.get("gpusUnusedSince"))
