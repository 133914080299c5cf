"""JupyterKernel: its pod and its status."""

import copy
from datetime import UTC, datetime

import pytest

from hub_service import kernel, kernel_status
from hub_service.kinds import Phase, condition
from hub_service.podstate import PodState
from hub_service.starts.judge import Verdict

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2030, 1, 2, 3, 5, 5, tzinfo=UTC)
STAMP, LATER_STAMP = "2030-01-02T03:04:05Z", "2030-01-02T03:05:05Z"


def a_kernel(*, pod_spec=None, metadata=None, status=None, **spec):
    container = {"name": "kernel", "image": "kernel:1"}
    item = {
        "metadata": {"name": "kernel-1", "namespace": "users", "uid": "u-1"},
        "spec": {
            "owner": "alice",
            "kernelID": "0b2c",
            "template": {
                "metadata": metadata or {},
                "spec": {"containers": [container], **(pod_spec or {})},
            },
            **spec,
        },
    }
    if status is not None:
        item["status"] = status
    return item


def a_pod(phase="Pending", name="kernel-1", state=None, node=None, deleting=False, **status):
    metadata = {"name": name, "namespace": "users"}
    if deleting:
        metadata["deletionTimestamp"] = STAMP
    spec = {"containers": [{"name": "kernel", "image": "kernel:1"}]}
    if node:
        spec["nodeName"] = node
    if state:
        status["containerStatuses"] = [{"name": "kernel", "state": state}]
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, **status}}


def with_status(item, status):
    """The kernel after a status of ours was merged into its own."""
    merged = {**item.get("status", {}), **status}
    return {**item, "status": {key: value for key, value in merged.items() if value is not None}}


def admitted(**options):
    item = a_kernel(**options)
    status = kernel_status.of_admission(
        item, admitted=True, reason="WithinQuota", message="Kernel 1 of 2.", now=NOW
    )
    return with_status(item, status)


class TestPod:
    def test_is_what_the_template_says_and_what_a_kernel_needs(self):
        item = a_kernel(
            server="",
            gateway={"name": "gw"},
            kernelSpecName="python_gpu",
            connectionSecret="kernel-1",
            metadata={"labels": {"team": "x"}, "annotations": {"note": "y"}},
            pod_spec={"tolerations": [{"key": "gpu"}]},
        )
        assert kernel.desired_pod(item) == {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "kernel-1",
                "namespace": "users",
                "labels": {
                    "team": "x",
                    "app.kubernetes.io/name": "elastic-kernels",
                    "app.kubernetes.io/component": "kernel",
                    "app.kubernetes.io/managed-by": "elastic-hub-service",
                    "kubeflow.tkestack.io/kernel-id": "0b2c",
                    "kubeflow.tkestack.io/owner": "alice",
                    "kubeflow.tkestack.io/server": "",
                    "kubeflow.tkestack.io/gateway": "gw",
                    "kubeflow.tkestack.io/kernel-spec": "python_gpu",
                },
                "annotations": {"note": "y"},
                "ownerReferences": [
                    {
                        "apiVersion": "kubeflow.tkestack.io/v1alpha1",
                        "kind": "JupyterKernel",
                        "name": "kernel-1",
                        "uid": "u-1",
                        "controller": True,
                    }
                ],
            },
            "spec": {
                "tolerations": [{"key": "gpu"}],
                "restartPolicy": "Never",
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 2,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "elastic-connection", "secret": {"secretName": "kernel-1"}}],
                "containers": [
                    {
                        "name": "kernel",
                        "image": "kernel:1",
                        "env": [
                            {"name": "KERNEL_ID", "value": "0b2c"},
                            {"name": "KERNEL_USERNAME", "value": "alice"},
                        ],
                        "volumeMounts": [
                            {
                                "name": "elastic-connection",
                                "mountPath": "/run/elastic",
                                "readOnly": True,
                            }
                        ],
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "securityContext": {
                            "runAsNonRoot": True,
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }

    def test_leaves_its_input_alone(self):
        item = a_kernel(
            connectionSecret="s",
            pod_spec={
                "volumes": [],
                "containers": [{"name": "a", "env": [], "volumeMounts": []}],
            },
        )
        before = copy.deepcopy(item)
        kernel.desired_pod(item)
        kernel_status.of_pod(admitted(), a_pod("Running"), NOW)
        assert item == before

    def test_later_incarnations_have_names_of_their_own(self):
        assert kernel.desired_pod(a_kernel(incarnation=2))["metadata"]["name"] == "kernel-1-2"

    def test_the_kernels_container_is_found_by_its_name(self):
        pod = kernel.desired_pod(
            a_kernel(pod_spec={"containers": [{"name": "sidecar"}, {"name": "kernel"}]})
        )
        assert ["env" in container for container in pod["spec"]["containers"]] == [False, True]

    def test_or_is_the_first_one(self):
        pod = kernel.desired_pod(
            a_kernel(pod_spec={"containers": [{"name": "python"}, {"name": "sidecar"}]})
        )
        assert ["env" in container for container in pod["spec"]["containers"]] == [True, False]

    def test_the_templates_own_variables_and_grace_stay(self):
        env = [{"name": "HOME", "value": "/data"}, {"name": "KERNEL_USERNAME", "value": "root"}]
        pod = kernel.desired_pod(
            a_kernel(
                pod_spec={
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{"name": "kernel", "env": env}],
                }
            )
        )
        assert pod["spec"]["terminationGracePeriodSeconds"] == 30
        assert pod["spec"]["containers"][0]["env"] == [
            {"name": "HOME", "value": "/data"},
            {"name": "KERNEL_ID", "value": "0b2c"},
            {"name": "KERNEL_USERNAME", "value": "alice"},
        ]

    def test_a_users_name_is_never_expanded_by_kubernetes(self):
        item = a_kernel(pod_spec={"containers": [{"name": "kernel"}]})
        item["spec"]["owner"] = "$(HOME)$"
        env = kernel.desired_pod(item)["spec"]["containers"][0]["env"]
        assert {"name": "KERNEL_USERNAME", "value": "$$(HOME)$$"} in env

    def test_a_template_without_containers_is_left_to_the_api_server(self):
        assert kernel.desired_pod(a_kernel(pod_spec={"containers": []}))["spec"]["containers"] == []

    def test_texts_in_the_metadata_are_labels_but_never_the_hubs_own(self):
        item = a_kernel(metadata={"app": "gateway", "component": "singleuser-server", "name": "x"})
        labels = kernel.desired_pod(item)["metadata"]["labels"]
        assert labels["app"] == "gateway"
        assert "component" not in labels
        message = condition(admitted_of(item), "TemplateAccepted")["message"]
        assert "metadata.name is left out" in message
        assert "component: singleuser-server is left out" in message


def admitted_of(item):
    return with_status(
        item,
        kernel_status.of_admission(item, admitted=True, reason="r", message="m", now=NOW),
    )


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


def gpus(**amounts):
    return {"name": "c", "resources": {k: {"nvidia.com/gpu": v} for k, v in amounts.items()}}


def rejected(message):
    return Verdict(PodState("Failed", "PodRejected", message), NOW)


def waits(**more):
    return Verdict(PodState("Pending", "Unschedulable", "waits"), NOW, **more)


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
            kernel_status.of_cull(item, "idle", NOW),
            kernel_status.without_pod(item, rejected("no"), NOW),
            kernel_status.of_admission(item, admitted=True, reason="", message="", now=NOW),
        ):
            assert "activity" not in status

    @pytest.mark.parametrize(
        ("status_of", "end", "phase", "kind", "reason"),
        [
            (kernel_status.of_cull, "why", "Culled", "Culled", "Idle"),
            (kernel_status.without_pod, rejected("why"), "Failed", "Failed", "PodRejected"),
        ],
    )
    def test_ends_that_no_pod_tells(self, status_of, end, phase, kind, reason):
        item = with_status(admitted(), status_of(admitted(), end, LATER))
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
