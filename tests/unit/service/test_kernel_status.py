"""The status of a JupyterKernel."""

import pytest

from hub_service.kernels import kernel, kernel_status
from hub_service.kernels.podstate import PodState
from hub_service.kinds import Phase, condition
from hub_service.starts.judge import Verdict
from tests.unit.service.kernels import (
    LATER,
    LATER_STAMP,
    NOW,
    STAMP,
    a_kernel,
    a_pod,
    admitted,
    with_status,
)


def gpus(**amounts):
    return {"name": "c", "resources": {k: {"nvidia.com/gpu": v} for k, v in amounts.items()}}


def rejected(message):
    return Verdict(PodState("Failed", "PodRejected", message), NOW)


def waits(**more):
    return Verdict(PodState("Pending", "Unschedulable", "waits"), NOW, **more)


class TestAdmission:
    def test_admitted(self):
        item = admitted(pod_spec={"containers": [gpus(limits=1), gpus(requests=2)]})
        assert item["status"] == {
            "phase": "Pending",
            "incarnation": 0,
            "gpus": 3,
            "conditions": [
                {
                    "type": "Admitted",
                    "status": "True",
                    "reason": "WithinQuota",
                    "message": "Kernel 1 of 2.",
                    "lastUpdateTime": STAMP,
                    "lastTransitionTime": STAMP,
                },
                {
                    "type": "TemplateAccepted",
                    "status": "True",
                    "reason": "Accepted",
                    "message": "The template is used as it is.",
                    "lastUpdateTime": STAMP,
                    "lastTransitionTime": STAMP,
                },
            ],
        }
        assert kernel.is_decided(item)
        assert kernel.is_admitted(item)
        assert not kernel.is_finished(item)

    def test_refused(self):
        status = kernel_status.of_admission(
            a_kernel(), admitted=False, reason="QuotaExceeded", message="no", now=NOW
        )
        item = with_status(a_kernel(), status)
        assert item["status"]["phase"] == Phase.REFUSED
        assert item["status"]["completionTime"] == STAMP
        assert condition(item, "Admitted")["status"] == "False"
        assert kernel.is_decided(item)
        assert not kernel.is_admitted(item)
        assert kernel.is_finished(item)

    def test_another_restart_policy_is_reported(self):
        entry = condition(admitted(pod_spec={"restartPolicy": "Always"}), "TemplateAccepted")
        assert (entry["status"], entry["reason"]) == ("True", "Corrected")
        assert "restartPolicy Always is taken as Never" in entry["message"]

    def test_an_undecided_kernel(self):
        assert not kernel.is_decided(a_kernel())
        assert not kernel.is_admitted(a_kernel())
        assert not kernel.is_finished(a_kernel())

    def test_a_new_incarnation_of_a_running_kernel_holds_its_place(self):
        item = with_status(admitted(incarnation=0), {"phase": "Running", "podName": "kernel-1"})
        item["spec"]["incarnation"] = 1
        assert not kernel.is_decided(item)
        assert kernel.is_admitted(item)
        status = kernel_status.of_admission(
            item, admitted=True, reason="WithinQuota", message="Kernel 1 of 2.", now=LATER
        )
        item = with_status(item, status)
        assert item["status"]["incarnation"] == 1
        assert item["status"]["phase"] == Phase.PENDING
        assert "podName" not in item["status"]
        assert condition(item, "Admitted")["lastTransitionTime"] == STAMP

    @pytest.mark.parametrize("phase", ["Failed", "Succeeded", "Refused", "Culled"])
    def test_a_new_incarnation_of_one_that_is_over_holds_none(self, phase):
        item = with_status(admitted(), {"phase": phase})
        item["spec"]["incarnation"] = 1
        assert not kernel.is_decided(item)
        assert not kernel.is_admitted(item)


class TestStatus:
    def test_how_far_a_start_has_come(self):
        item = admitted()
        verdict = waits(deadline=LATER, before=2)
        item = with_status(item, kernel_status.of_pod(item, a_pod(), NOW, verdict))
        start = {"since": STAMP, "deadline": LATER_STAMP, "waitingBehind": 2}
        assert item["status"]["start"] == start
        assert condition(item, "Running")["reason"] == "Unschedulable"
        # In a merge patch, what is not there any more has to be said.
        later = kernel_status.of_pod(item, a_pod(), LATER, waits())
        assert later["start"] == {"since": STAMP, "deadline": None, "waitingBehind": None}
        running = a_pod("Running", node="n1", state={"running": {"startedAt": STAMP}})
        assert kernel_status.of_pod(item, running, LATER)["start"] is None

    def test_a_pod_that_can_not_be_made_yet(self):
        item = admitted()
        assert kernel_status.making_since(item, LATER) == NOW
        item = with_status(item, kernel_status.without_pod(item, waits(), NOW))
        assert (item["status"]["phase"], item["status"]["start"]) == ("Pending", {"since": STAMP})
        assert kernel_status.making_since(item, LATER) == NOW

    @pytest.mark.parametrize(
        ("state", "reason", "failure"),
        [
            (None, "PodRunning", "CrashedAtStart"),
            ("starting", "PodRunning", "CrashedAtStart"),
            ("idle", "Answering", "ContainerExited"),
            ("busy", "Answering", "ContainerExited"),
        ],
    )
    def test_the_first_answer(self, state, reason, failure):
        item = with_status(admitted(), {"activity": {"executionState": state}})
        running = a_pod("Running", node="n1", state={"running": {"startedAt": STAMP}})
        up = with_status(item, kernel_status.of_pod(item, running, NOW))
        assert condition(up, "Running")["reason"] == reason
        over = a_pod("Failed", node="n1", state={"terminated": {"exitCode": 1}})
        down = with_status(item, kernel_status.of_pod(item, over, NOW))
        assert condition(down, "Failed")["reason"] == failure

    @pytest.mark.parametrize(("last", "expected"), [(STAMP, False), (LATER_STAMP, True)])
    def test_the_first_answer_of_a_new_incarnation(self, last, expected):
        activity = {"executionState": "idle", "lastActivity": last}
        item = with_status(a_kernel(incarnation=1), {"activity": activity})
        assert not kernel.has_answered(item)
        assert kernel.has_answered(with_status(item, {"startTime": LATER_STAMP})) is expected

    def test_waiting_then_running(self):
        item = admitted()
        item = with_status(item, kernel_status.of_pod(item, a_pod(), NOW))
        assert (item["status"]["phase"], item["status"]["podName"]) == ("Pending", "kernel-1")
        assert condition(item, "Running")["status"] == "False"
        pod = a_pod(
            "Running", node="n1", podIP="198.51.100.7", state={"running": {"startedAt": STAMP}}
        )
        item = with_status(item, kernel_status.of_pod(item, pod, LATER))
        assert {k: v for k, v in item["status"].items() if k != "conditions"} == {
            "phase": "Running",
            "incarnation": 0,
            "gpus": 0,
            "podName": "kernel-1",
            "podIP": "198.51.100.7",
            "nodeName": "n1",
            "startTime": STAMP,
        }
        assert condition(item, "Running")["lastTransitionTime"] == LATER_STAMP
        assert condition(item, "Admitted")["lastTransitionTime"] == STAMP

    def test_the_same_pod_gives_the_same_status(self):
        item = admitted()
        pod = a_pod("Running", node="n1", state={"running": {"startedAt": STAMP}})
        item = with_status(item, kernel_status.of_pod(item, pod, NOW))
        again = kernel_status.of_pod(item, pod, LATER)
        assert with_status(item, again) == item

    def test_failed(self):
        item = with_status(admitted(), {"activity": {"executionState": "idle"}})
        state = {"terminated": {"exitCode": 3, "startedAt": STAMP, "finishedAt": LATER_STAMP}}
        item = with_status(
            item, kernel_status.of_pod(item, a_pod("Failed", node="n1", state=state), LATER)
        )
        assert item["status"]["phase"] == "Failed"
        assert item["status"]["exitCode"] == 3
        assert item["status"]["completionTime"] == LATER_STAMP
        assert condition(item, "Failed")["reason"] == "ContainerExited"
        assert condition(item, "Running")["reason"] == "Ended"
        assert condition(item, "Succeeded") is None

    def test_the_reason_stays_when_the_pod_goes(self):
        item = admitted()
        state = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        item = with_status(item, kernel_status.of_pod(item, a_pod("Failed", state=state), NOW))
        assert kernel_status.of_pod(item, None, LATER) == {}

    def test_a_pod_that_went_is_a_failure(self):
        item = admitted()
        item = with_status(item, kernel_status.of_pod(item, a_pod("Running", node="n1"), NOW))
        item = with_status(item, kernel_status.of_pod(item, None, LATER))
        assert item["status"]["phase"] == "Failed"
        assert item["status"]["podName"] == "kernel-1"  # so that no second one is made
        assert condition(item, "Failed")["reason"] == "PodDeleted"
        assert item["status"]["completionTime"] == LATER_STAMP

    def test_activity_is_never_ours(self):
        item = with_status(admitted(), {"activity": {"executionState": "busy"}})
        for status in (
            kernel_status.of_pod(item, a_pod("Running"), NOW),
            kernel_status.of_pod(item, None, NOW),
            kernel_status.of_cull(item, "Idle", "idle", NOW),
            kernel_status.without_pod(item, rejected("no"), NOW),
            kernel_status.of_admission(item, admitted=True, reason="", message="", now=NOW),
        ):
            assert "activity" not in status

    @pytest.mark.parametrize(
        ("status_of", "end", "phase", "kind", "reason"),
        [
            (kernel_status.of_cull, ("Idle", "why"), "Culled", "Culled", "Idle"),
            (kernel_status.of_cull, ("MaximumAge", "why"), "Culled", "Culled", "MaximumAge"),
            (kernel_status.without_pod, (rejected("why"),), "Failed", "Failed", "PodRejected"),
        ],
    )
    def test_ends_that_no_pod_tells(self, status_of, end, phase, kind, reason):
        item = with_status(admitted(), status_of(admitted(), *end, LATER))
        assert item["status"]["phase"] == phase
        assert item["status"]["completionTime"] == LATER_STAMP
        assert condition(item, kind)["reason"] == reason
        assert condition(item, kind)["message"] == "why"
        assert condition(item, "Admitted")["status"] == "True"
        assert kernel.is_finished(item)
        assert not kernel.is_admitted(item)


def test_variables_sent_in_vain_are_named_and_stay_so():
    item = a_kernel()
    assert (
        kernel_status.of_admission(item, admitted=True, reason="r", message="m", now=NOW)[
            "conditions"
        ][-1]["type"]
        == "TemplateAccepted"
    )
    item["metadata"]["annotations"] = {
        "kubeflow.tkestack.io/variables-dropped": "KERNEL_A,KERNEL_B"
    }
    status = kernel_status.of_admission(item, admitted=True, reason="r", message="m", now=NOW)
    item = with_status(item, status)
    item = with_status(item, kernel_status.of_pod(item, a_pod("Running"), NOW))
    entry = condition(item, "VariablesAccepted")
    assert (entry["status"], entry["reason"]) == ("False", "Dropped")
    assert entry["message"].endswith("doesn't declare them: KERNEL_A, KERNEL_B.")
