"""The hub of this project by the chart that Z2JH_CHART names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from demo.install import HUB_NAMESPACE, Images, Installation, kubectl
from hub_service.kube.client import Cluster
from tests.e2e.support import everybody_leaves
from tests.z2jh import chart as by_chart
from tests.z2jh.chart import Chart


@pytest.fixture(scope="session")
def images() -> Images:
    return Images(os.environ.get("REGISTRY", Images.registry), os.environ.get("TAG", Images.tag))


@pytest.fixture(scope="session")
def chart() -> Iterator[Chart]:
    if not os.environ.get(by_chart.VARIABLE):
        pytest.skip(f"{by_chart.VARIABLE} names no chart (see docs/install-z2jh.md)")
    with by_chart.chart() as found:
        yield found


@pytest.fixture(scope="session")
def installation(chart: Chart, images: Images) -> Iterator[Installation]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set (`make test-z2jh` sets one up)")
    installed = by_chart.install(images)
    yield installed
    everybody_leaves(installed)
    for target in ("deployment/hub", "deployment/proxy"):
        print(kubectl("-n", HUB_NAMESPACE, "logs", target, "--tail=400"))


@pytest.fixture
async def cluster(installation: Installation) -> AsyncIterator[Cluster]:
    async with Cluster.from_environment() as cluster:
        yield cluster
