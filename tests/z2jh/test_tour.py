"""The demo's tour on a hub that the chart installed, with a gateway for all and one each."""

from __future__ import annotations

import json

import pytest

from demo.install import Images, Installation
from demo.tour import tour
from tests.z2jh import chart as by_chart
from tests.z2jh.chart import Chart


@pytest.mark.parametrize("mode", ["shared", "per-user"])
async def test_the_tour_with_its_figures(
    installation: Installation,
    images: Images,
    chart: Chart,
    mode: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_chart.install(images, {"gateway": {"mode": mode}})
    with capsys.disabled():
        print(f"\n{chart}; gateway mode {mode}")
        # Somebody else each time, whose server starts in this mode.
        figures = await tour(installation, images, user=f"visitor-{mode}")
        print(json.dumps(figures))

    assert figures["gpus_notebook_only"] == 0
    assert figures["gpus_kernel"] == 1
    assert figures["gpus_after_cull"] == 0
