"""A few faults of those that need no waiting, for every change; `make faults` is the long run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo.install import Images
from localcluster.layout import STATE, find_cluster
from tests.faults import suite
from tests.faults.plan import Kind, plan
from tests.faults.users import SLOTS

USERS = ("ada", "grace")
KINDS = (Kind.SERVICE_KILLED, Kind.WATCH_EXPIRED, Kind.FAILING_ANSWERS, Kind.POD_DELETED)


@pytest.fixture
def local_cluster() -> str:
    """The name of the local cluster that KUBECONFIG leads to."""
    access = os.environ.get("KUBECONFIG")
    if not access:
        pytest.skip("no cluster: KUBECONFIG is not set (`make test` sets one up)")
    for folder in STATE.glob("*"):
        own = find_cluster(folder.name).admin_kubeconfig
        if own.exists() and own.read_text() in Path(access).read_text():
            return folder.name
    pytest.skip("faults strike local clusters only: KUBECONFIG leads to another")


async def test_nothing_is_lost(local_cluster: str) -> None:
    kernels = len(USERS) * len(SLOTS)
    chosen = plan(1, len(KINDS), kernels=kernels, kinds=KINDS)
    tally = await suite.run(local_cluster, USERS, 1, chosen, images=Images(), say=print)
    assert tally.is_clean, tally
    assert tally.faults == len(KINDS)
