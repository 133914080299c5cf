"""Kernels in Kueue's queues: the label that asks for one, and what is told from its Workloads."""

import pytest

from hub_service import settings
from hub_service.kernels import podstate
from hub_service.sharing import kueue

POD = {"metadata": {"name": "k", "namespace": "users", "labels": {"a": "b"}}, "spec": {}}
GATEWAY = {"name": "shared", "image": "i"}


def a_workload(*conditions, owner="Pod"):
    references = [{"kind": owner, "name": "k", "uid": "u", "controller": True}]
    metadata = {"name": "pod-k-1", "namespace": "users", "ownerReferences": references}
    said = [dict(zip(("type", "status", "message"), one, strict=True)) for one in conditions]
    return {"metadata": metadata, "status": {"conditions": said}}


def test_the_label():
    assert kueue.queue_of(POD) is None
    queued = kueue.queued(POD, "team")
    assert kueue.queue_of(queued) == "team"
    assert queued["metadata"]["labels"] == {"a": "b", "kueue.x-k8s.io/queue-name": "team"}
    assert POD["metadata"]["labels"] == {"a": "b"}


def test_whose_a_workload_is():
    assert kueue.pod_of(a_workload()) == ("users", "k")
    assert kueue.pod_uid(a_workload()) == "u"
    assert kueue.pod_of(a_workload(owner="Job")) is None


LACKS = "insufficient unused quota for nvidia.com/gpu\nin flavor a100, 1 more needed"
SAYS = {
    "nothing yet": ((), ""),
    "no quota": ((("QuotaReserved", "False", LACKS),), LACKS.replace("\n", " ")),
    "admitted": ((("QuotaReserved", "True", "reserved"), ("Admitted", "True", "yes")), ""),
    "checks": ((("QuotaReserved", "True", "ok"), ("Admitted", "False", "checks")), "checks"),
    "evicted": (
        (("QuotaReserved", "False", "pending"), ("Evicted", "True", "preempted")), "preempted",
    ),
    "evicted before": (
        (("Evicted", "False", "was"), ("QuotaReserved", "False", "pending")), "pending",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("conditions", "words"), SAYS.values(), ids=SAYS.keys())
def test_what_a_workload_says(conditions, words):
    assert kueue.words(a_workload(*conditions)) == words


def test_no_workload_says_nothing():
    assert kueue.words(None) == ""


def test_a_pod_that_its_queue_stops():
    condition = {
        "type": "TerminationTarget", "status": "True", "reason": "StoppedByKueue",
        "message": "Preempted to accommodate a workload of higher priority",
    }  # fmt: skip
    metadata = {"name": "k", "deletionTimestamp": "2030-01-01T00:00:00Z"}
    pod = {
        "metadata": metadata,
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running", "conditions": [condition]},
    }
    state = podstate.observe(pod)
    assert (state.phase, state.reason) == ("Failed", "Preempted")
    assert "queue (Kueue)" in state.message
    assert "of higher priority" in state.message


def test_a_queue_without_kueue_is_refused_where_it_is_written():
    with pytest.raises(settings.SettingsError, match=r"sharing\.kueue.*queue team: set enabled"):
        settings.parse({"gateway": GATEWAY, "sharing": {"kueue": {"queue": "team"}}})
    with pytest.raises(settings.SettingsError, match=r"sharing\.released.*greater than or equal"):
        settings.parse({"gateway": GATEWAY, "sharing": {"released": 0}})
    parsed = settings.parse(
        {"gateway": GATEWAY, "sharing": {"kueue": {"enabled": True, "queue": "team"}}}
    )
    assert parsed.sharing.kueue.queue == "team"


@pytest.mark.parametrize(("released", "autoscaler", "most"), [
    (None, False, 1), (None, True, 10), (3, True, 3),
])  # fmt: skip
def test_how_many_are_let_on(released, autoscaler, most):
    parsed = settings.parse({"gateway": GATEWAY, "sharing": {"released": released}})
    assert parsed.sharing.most_released(autoscaler=autoscaler) == most
