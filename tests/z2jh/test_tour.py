"""The demo's tour on a hub that the chart installed."""

from __future__ import annotations

import json

import pytest

from demo.install import Images, Installation
from demo.tour import tour
from tests.z2jh.chart import Chart


async def test_the_tour_with_its_figures(
    installation: Installation, images: Images, chart: Chart, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{chart}")
        figures = await tour(installation, images)
        print(json.dumps(figures))

    assert figures["gpus_notebook_only"] == 0
    assert figures["gpus_kernel"] == 1
    assert figures["gpus_after_cull"] == 0
