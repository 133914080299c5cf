"""A Prometheus with recorded series of DCGM's exporter."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from localcluster.layout import ClusterError
from tests.prometheus.build import programs
from tests.real_hub import free_port

RECORDED = Path(__file__).parent / "recorded.csv"
SAMPLE_SECONDS = 15
_DEADLINE = 60.0


class Running(NamedTuple):
    """Where it answers, and which moment its series were recorded up to."""

    url: str
    now: float


def lines(now: float) -> Iterator[str]:
    """The recorded series in OpenMetrics' text, as if they had been scraped up to `now`."""
    yield "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %)."
    yield "# TYPE DCGM_FI_DEV_GPU_UTIL gauge"
    steps: dict[tuple[str, str], list[tuple[float, str]]] = {}
    with RECORDED.open(newline="") as file:
        for pod, gpu, minutes, value in csv.reader(row for row in file if row[0] != "#"):
            steps.setdefault((pod, gpu), []).append((float(minutes), value))
    for (pod, gpu), known in steps.items():
        labels = (
            f'gpu="{gpu}",UUID="GPU-{gpu}",device="nvidia{gpu}",modelName="NVIDIA H100",'
            f'Hostname="node-1",container="kernel",namespace="users",pod="{pod}"'
        )
        for (minutes, value), (end, _) in zip(known, [*known[1:], (0.0, "")], strict=True):
            at = now - minutes * 60
            while value and at < now - end * 60:
                yield f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} {value} {at:.3f}"
                at += SAMPLE_SECONDS
    yield "# EOF"


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    try:
        folder = programs()
    except (ClusterError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Prometheus can't be built here: {error}")
    scratch = tmp_path_factory.mktemp("prometheus")
    now = time.time()
    recorded = scratch / "recorded.txt"
    recorded.write_text("\n".join([*lines(now), ""]))
    data = scratch / "data"
    subprocess.run(
        [folder / "promtool", "tsdb", "create-blocks-from", "openmetrics", recorded, data],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    config = scratch / "prometheus.yml"
    config.write_text("global: {}\n")
    port = free_port()
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                folder / "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=1d",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, scratch / "log")
        yield Running(url, now)
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{url}/-/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"Prometheus did not get ready:\n{log.read_text()[-2000:]}")
