"""The chart's own schema accepts the values, and its manifests are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.z2jh.chart import NO_REGISTRY, VALUES, Chart, render
from tests.z2jh.helm import HelmError

FIRST = VALUES / "elastic.yaml"
MORE = sorted(
    file
    for file in VALUES.glob("*.yaml")
    if file != FIRST and "apiVersion:" not in file.read_text()
)


@pytest.mark.parametrize("file", [None, *MORE, NO_REGISTRY], ids=str)
def test_the_charts_schema_accepts(file: Path | None, chart: Chart) -> None:
    assert render(chart, [FIRST, *([file] if file else [])])


def test_the_charts_schema_is_looked_at(chart: Chart, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("singleuser: {memory: {guarantie: 1G}}\n")

    with pytest.raises(HelmError, match="guarantie"):
        render(chart, [FIRST, wrong])


def test_images_are_pulled_beforehand(chart: Chart) -> None:
    manifests = render(chart, [FIRST])
    pullers = [m for m in manifests if m["kind"] == "DaemonSet"]

    assert {p["metadata"]["name"] for p in pullers} >= {"continuous-image-puller"}
    for puller in pullers:
        containers: list[dict[str, Any]] = puller["spec"]["template"]["spec"]["initContainers"]
        images = {container["image"] for container in containers}
        assert images >= {"elastic/notebook:dev", "elastic/gateway:dev", "elastic/kernel:dev"}
