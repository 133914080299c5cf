"""Restarts in a kernel's pod: which are carried out, and what is said of them."""

from datetime import UTC, datetime, timedelta

import pytest

from hub_service import timestamps
from hub_service.kernels import inplace, liveness, restart
from hub_service.kernels.liveness import Rule
from hub_service.kernels.restart import Deliver, Refuse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = Rule(timeout=60, restarts=3)


def ago(seconds):
    return timestamps.microseconds(NOW - timedelta(seconds=seconds))


def decide(kernel, pod, rule, now):
    return restart.decide(kernel, pod, liveness.lost_since(kernel, ["g-1"]), rule, now)


def a_kernel(*, asked="r1", age=0.0, grace=None, last=None, lost=None, running="True", **spec):
    wanted = {"id": asked, "at": ago(age), **({} if grace is None else {"graceSeconds": grace})}
    containers = [{"name": "helper"}, {"name": "kernel", "command": ["k"]}]
    activity = {"heartbeatLostByPod": {"g-1": ago(lost)}} if lost is not None else {}
    return {
        "metadata": {"name": "k", "namespace": "ns"},
        "spec": {
            "template": {"spec": {"containers": containers}},
            **({"restart": wanted} if asked else {}),
            **spec,
        },
        "status": {
            "podName": "k",
            "incarnation": 0,
            "conditions": [{"type": "Running", "status": running}],
            "activity": activity,
            **({"restart": last} if last else {}),
        },
    }


def a_pod(command=(*inplace.COMMAND, "k"), **metadata):
    containers = [{"name": "helper"}, {"name": "kernel", "command": list(command)}]
    return {"metadata": {"name": "k", **metadata}, "spec": {"containers": containers}}


@pytest.mark.parametrize(("given", "grace"), [(None, 0), (3, 3), (99, restart.MAX_GRACE)])
def test_a_restart_that_is_asked_for(given, grace):
    decision = decide(a_kernel(grace=given), a_pod(), RULE, NOW)
    assert decision == Deliver("r1", "Requested", "k", "kernel", grace)


@pytest.mark.parametrize(
    "kernel",
    [
        a_kernel(asked=None),
        a_kernel(last={"asked": "r1", "id": "r1"}),
        a_kernel(asked=None, lost=59),
    ],
)
def test_nothing_is_asked_or_due_or_it_was_seen_to(kernel):
    assert decide(kernel, a_pod(), RULE, NOW) is None


@pytest.mark.parametrize(
    ("kernel", "pod", "why"),
    [
        (a_kernel(age=11), a_pod(), "11 s ago"),
        (a_kernel(running="False"), a_pod(), "does not run"),
        (a_kernel(incarnation=1), a_pod(), "does not run"),
        (a_kernel(), None, "does not run"),
        (a_kernel(), a_pod(deletionTimestamp="t"), "does not run"),
        (a_kernel(), a_pod(command=["k"]), "earlier version"),
        (
            a_kernel(template={"spec": {"containers": [{"name": "kernel"}]}}),
            a_pod(command=[]),
            "names no command",
        ),
    ],
)
def test_what_is_refused_says_why(kernel, pod, why):
    decision = decide(kernel, pod, RULE, NOW)
    assert isinstance(decision, Refuse)
    assert why in decision.message


def test_a_lost_heart_is_restarted_at_once():
    decision = decide(a_kernel(asked=None, lost=60), a_pod(), RULE, NOW)
    assert isinstance(decision, Deliver)
    assert (decision.cause, decision.grace, decision.times) == ("HeartbeatLost", 0, 1)
    # Not in a pod that is none of ours: it may not be running any more.
    assert decide(a_kernel(asked=None, lost=60), None, RULE, NOW) is None


def merged(kernel, status):
    last = {**(kernel["status"].get("restart") or {}), **status["restart"]}
    return {**kernel, "status": {**kernel["status"], "restart": last}}


def test_a_request_is_carried_out_once_whatever_comes_in_between():
    kernel = a_kernel()
    asked = decide(kernel, a_pod(), RULE, NOW)
    begun = merged(kernel, restart.status_of_begun(asked, kernel, NOW))
    assert decide(begun, a_pod(), RULE, NOW) is None
    done = merged(begun, restart.status_of_outcome(asked, None))
    assert done["status"]["restart"] | {"at": ""} == {
        "id": "r1", "asked": "r1", "cause": "Requested", "at": "", "count": 0,
        "delivered": True, "message": "",
    }  # fmt: skip
    done["status"]["activity"] = {"heartbeatLostByPod": {"g-1": ago(-1)}}
    later = NOW + timedelta(minutes=5)
    due = decide(done, a_pod(), RULE, later)
    assert isinstance(due, Deliver)
    own = merged(done, restart.status_of_begun(due, done, later))
    assert own["status"]["restart"]["asked"] == "r1"
    own = merged(own, restart.status_of_outcome(due, None))
    assert own["status"]["restart"]["count"] == 1
    assert decide(own, a_pod(), RULE, later) is None


def test_a_request_that_the_services_own_restart_came_before_is_seen_to():
    kernel = a_kernel(asked=None, lost=61)
    due = decide(kernel, a_pod(), RULE, NOW)
    kernel["spec"]["restart"] = {"id": "r2", "at": ago(0)}
    begun = merged(kernel, restart.status_of_begun(due, kernel, NOW))
    decision = decide(begun, a_pod(), RULE, NOW)
    assert isinstance(decision, Deliver)
    assert decision.restart_id == "r2"


def test_what_did_not_reach_the_process_does_not_count():
    due = decide(a_kernel(asked=None, lost=61), a_pod(), RULE, NOW)
    assert restart.status_of_outcome(due, "no node")["restart"] == {
        "id": due.restart_id, "delivered": False, "message": "no node",
    }  # fmt: skip


def test_outcomes():
    assert restart.outcome_of(inplace.RESTARTED, "") is None
    assert "exit code 4" in restart.outcome_of(4, "")
    assert "no permission" in restart.outcome_of(3, "no permission\n")
