"""A cluster of the tests' own, beside any other on the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcluster.support import TestCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip("starting a cluster needs root"))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[TestCluster]:
    """Not started yet; ended and forgotten after the test."""
    cluster = TestCluster("leaves-nothing", tmp_path / "kubeconfig")
    cluster.command("down", "--purge")
    yield cluster
    cluster.command("down", "--purge")
