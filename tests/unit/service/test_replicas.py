"""Which of a gateway's pods have a say."""

from datetime import UTC, datetime

import pytest

from hub_service.gateways.replicas import gateway_of_pod, serves, urls
from hub_service.kinds import LABEL_GATEWAY

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def a_pod(phase="Running", ip="10.0.0.1", state="running", deleted=None):
    metadata = {"name": "gw-1", "namespace": "users", "labels": {LABEL_GATEWAY: "gw"}}
    if deleted:
        metadata["deletionTimestamp"] = deleted
    status = {"phase": phase, "podIP": ip, "containerStatuses": [{"state": {state: {}}}]}
    return {"metadata": metadata, "status": status}


def test_its_key():
    assert gateway_of_pod(a_pod()) == "users/gw"


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        (a_pod(), True),
        (a_pod(deleted="2030-01-01T00:00:30Z"), True),  # it serves until it is gone
        (a_pod(deleted="2029-12-31T23:50:00Z"), False),  # its node is lost
        (a_pod(phase="Pending", ip=None), False),
        (a_pod(state="waiting"), False),
        (a_pod(phase="Failed", state="terminated"), False),
    ],
)
def test_which_count(pod, counts):
    assert urls([pod], NOW) == (["http://10.0.0.1:8888"] if counts else [])


@pytest.mark.parametrize(
    ("ready", "deleted", "expected"),
    [
        ("True", None, True),
        ("False", None, False),
        (None, None, False),
        ("True", "2030-01-01T00:00:30Z", False),
    ],
)
def test_which_serves(ready, deleted, expected):
    pod = a_pod(deleted=deleted)
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    if ready:
        pod["status"]["conditions"].append({"type": "Ready", "status": ready})
    assert serves(pod) is expected
    assert not serves(None)
