"""What has lost its owner stays for a grace, and for as long as nobody can say."""

from datetime import UTC, datetime, timedelta

import pytest

from hub_service import orphans
from hub_service.orphans import Go, Stay

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
GRACE = timedelta(minutes=5)


def decide(there, since, now):
    return orphans.decide(there, since, now, grace=GRACE)


def test_with_an_owner_it_stays_and_what_was_before_is_forgotten():
    assert decide(True, NOON - GRACE * 2, NOON) == Stay(None, None)


def test_without_one_it_goes_after_the_grace():
    assert decide(False, None, NOON) == Stay(NOON, NOON + GRACE)
    assert decide(False, NOON, NOON + GRACE / 2) == Stay(NOON, NOON + GRACE)
    assert decide(False, NOON, NOON + GRACE) == Go()


@pytest.mark.parametrize("since", [None, NOON - GRACE * 10])
def test_unknown_is_not_gone(since):
    assert decide(None, since, NOON) == Stay(since, NOON + GRACE)


def pod(**metadata):
    return {"metadata": {"name": "kernel-7", "namespace": "ns", **metadata}, "spec": {}}


def test_a_pod_with_a_kernel_is_no_orphan_nor_is_one_that_goes_already():
    owner = {"kind": "JupyterKernel", "name": "kernel-7", "uid": "u", "controller": True}
    assert orphans.is_without_kernel(pod())
    assert orphans.is_without_kernel(pod(ownerReferences=[{**owner, "controller": False}]))
    assert not orphans.is_without_kernel(pod(ownerReferences=[owner]))
    assert not orphans.is_without_kernel(pod(deletionTimestamp="2026-05-01T12:00:00Z"))


def test_a_secret_is_a_kernels_if_its_name_and_its_label_say_so():
    labels = {"kubeflow.tkestack.io/kernel-id": "7"}
    assert orphans.is_kernels_secret(pod(labels=labels))
    assert not orphans.is_kernels_secret({"metadata": {"name": "database", "labels": labels}})
    assert not orphans.is_kernels_secret(pod())


def test_a_pods_end_is_waited_for_beyond_its_grace_period():
    late = orphans.overdue_at(pod(deletionGracePeriodSeconds=20), NOON)
    assert late == NOON + timedelta(seconds=20) + orphans.LATE


def test_a_node_is_dead_only_if_it_is_gone_or_somebody_says_so():
    silent = {
        "spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }
    shut_down = {"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service"}]}}
    assert orphans.is_certainly_dead(None)
    assert orphans.is_certainly_dead(shut_down)
    assert not orphans.is_certainly_dead(silent)
    assert not orphans.is_certainly_dead({})
