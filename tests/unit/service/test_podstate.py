"""What a pod's status means for its kernel."""

import pytest

from hub_service.kernels.podstate import observe

RAN = {"startedAt": "2030-01-01T00:00:00Z", "finishedAt": "2030-01-01T00:01:00Z"}


def pod(
    phase="Pending",
    *,
    state=None,
    init=None,
    node="n1",
    deleting=False,
    limits=None,
    **status,
):
    spec = {"containers": [{"name": "kernel", "resources": {"limits": limits or {}}}]}
    if node:
        spec["nodeName"] = node
    if state is not None:
        status["containerStatuses"] = [
            {"name": "other", "state": {"running": {}}},
            {"name": "kernel", "state": state},
        ]
    if init is not None:
        status["initContainerStatuses"] = [{"name": "prepare", "state": init}]
    metadata = {"name": "kernel-1"}
    if deleting:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, **status}}


def ended(code, reason="Error", **more):
    return {"terminated": {"exitCode": code, "reason": reason, **RAN, **more}}


def waiting(reason, message=None):
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def pod_condition(kind, status, reason, message):
    return [{"type": kind, "status": status, "reason": reason, "message": message}]


EVICTION = pod_condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "drained")
TAINT = pod_condition("DisruptionTarget", "True", "DeletionByTaintManager", "NoExecute taint")
SILENT = pod_condition("Ready", "False", "NodeLost", "")
COLLECTED = pod_condition("DisruptionTarget", "True", "DeletionByPodGC", "node is gone")
KUBELET = pod_condition("DisruptionTarget", "True", "TerminationByKubelet", "shutting down")
PREEMPTION = pod_condition("DisruptionTarget", "True", "PreemptionByScheduler", "for another")

CASES = {
    "gone": (None, "Failed", "PodDeleted", "deleted"),
    "new": (pod(node=None), "Pending", "PodPending", "waits for a node"),
    "on its way": (pod(), "Starting", "ContainerCreating", "being created"),
    "creating": (
        pod(state=waiting("ContainerCreating")),
        "Starting",
        "ContainerCreating",
        "being created",
    ),
    "running": (pod("Running", state={"running": {"startedAt": "t"}}), "Running", "Answering", ""),
    "being deleted": (
        pod("Running", state={"running": {"startedAt": "t"}}, deleting=True),
        "Failed",
        "PodDeleted",
        "deleted",
    ),
    "being deleted while waiting": (pod(node=None, deleting=True), "Failed", "PodDeleted", ""),
    "drained": (
        pod("Running", state={"running": {}}, deleting=True, conditions=EVICTION),
        "Failed",
        "Evicted",
        "EvictionByEvictionAPI: drained",
    ),
    "preempted": (
        pod("Failed", state=ended(143), conditions=PREEMPTION),
        "Failed",
        "Preempted",
        "make room for one of higher priority on n1 (PreemptionByScheduler: for another)",
    ),
    "on a tainted node": (
        pod("Running", state={"running": {}}, deleting=True, conditions=TAINT),
        "Failed",
        "Evicted",
        "n1 was closed to its pod by a taint",
    ),
    "on a tainted node, ended": (
        pod("Failed", state=ended(137), deleting=True, conditions=TAINT + SILENT),
        "Failed",
        "Evicted",
        "taint",
    ),
    "on a node that is silent": (
        pod("Running", state={"running": {}}, deleting=True, conditions=TAINT + SILENT),
        "Failed",
        "NodeLost",
        "The kernel's node n1 was lost (DeletionByTaintManager: NoExecute taint)",
    ),
    "on a node that is gone": (
        pod("Failed", state={"running": {}}, conditions=COLLECTED),
        "Failed",
        "NodeLost",
        "node n1 was lost",
    ),
    "lost, as older clusters say it": (
        pod("Running", state={"running": {}}, deleting=True, reason="NodeLost"),
        "Failed",
        "NodeLost",
        "node n1 was lost",
    ),
    "on a node that is shut down": (
        pod("Failed", state=ended(137), conditions=KUBELET),
        "Failed",
        "Evicted",
        "being short of something or shutting down (TerminationByKubelet: shutting down)",
    ),
    "ended for a reason of a cluster's own": (
        pod(
            "Failed",
            state=ended(143),
            conditions=pod_condition("DisruptionTarget", "True", "X", ""),
        ),
        "Failed",
        "Evicted",
        "The cluster ended the kernel's pod on n1 (X)",
    ),
    "ended by exit()": (pod("Succeeded", state=ended(0)), "Succeeded", "Completed", "exit()"),
    "killed by somebody": (
        pod("Failed", state=ended(137)),
        "Failed",
        "ContainerExited",
        "exit code 137 (SIGKILL, killed).",
    ),
    "an exit code that is no signal": (
        pod("Failed", state=ended(255)),
        "Failed",
        "ContainerExited",
        "exit code 255.",
    ),
    "ended well": (pod("Succeeded", state=ended(0, "Completed")), "Succeeded", "Completed", ""),
    "crashed": (pod("Failed", state=ended(3)), "Failed", "ContainerExited", "exit code 3."),
    "crashed with a word": (
        pod("Failed", state=ended(3, message="no module\n")),
        "Failed",
        "ContainerExited",
        "exit code 3. The last lines of its log:\nno module",
    ),
    "killed": (
        pod("Failed", state=ended(139)),
        "Failed",
        "ContainerExited",
        "139 (SIGSEGV, a crash in native code).",
    ),
    "out of its memory": (
        pod("Failed", state=ended(137, "OOMKilled"), limits={"memory": "2Gi"}),
        "Failed",
        "OOMKilled",
        "limit of 2Gi",
    ),
    "out of the node's memory": (
        pod("Failed", state=ended(137, "OOMKilled")),
        "Failed",
        "OOMKilled",
        "its node was out of memory",
    ),
    "out of memory, then deleted": (
        pod("Running", state=ended(137, "OOMKilled"), deleting=True),
        "Failed",
        "OOMKilled",
        "",
    ),
    "deleted, then ended": (
        pod("Failed", state=ended(137), deleting=True),
        "Failed",
        "PodDeleted",
        "",
    ),
    "the kernel ended and a container beside it did not": (
        pod("Running", state=ended(0, "Completed")),
        "Succeeded",
        "Completed",
        "",
    ),
    "evicted by its node": (
        pod("Failed", reason="Evicted", message="The node was low on memory."),
        "Failed",
        "Evicted",
        "low on memory",
    ),
    "not taken by its node": (
        pod("Failed", reason="UnexpectedAdmissionError", message="no devices"),
        "Failed",
        "PodRejected",
        "UnexpectedAdmissionError: no devices",
    ),
    "an init container failed": (
        pod("Failed", state=waiting("PodInitializing"), init=ended(5)),
        "Failed",
        "ContainerExited",
        "init container prepare ended with exit code 5.",
    ),
    "an init container said why": (
        pod(
            "Failed", state=waiting("PodInitializing"), init=ended(5, message="a\nERROR: full\n\n")
        ),
        "Failed",
        "ContainerExited",
        "init container prepare ended with exit code 5: full",
    ),
    "packages": (
        pod(
            "Failed",
            initContainerStatuses=[
                {"name": "packages", "state": ended(1, message="ERROR: No such package x")}
            ],
        ),
        "Failed",
        "ContainerExited",
        "The packages could not be installed: No such package x",
    ),
}


@pytest.mark.parametrize(("given", "phase", "reason", "words"), CASES.values(), ids=CASES.keys())
def test_observe(given, phase, reason, words):
    state = observe(given)
    assert (state.phase, state.reason) == (phase, reason)
    assert words in state.message
    assert state.message


@pytest.mark.parametrize(
    ("said", "told"),
    [("", "3."), ("no memory", "log:\nno memory"), ("malloc failed", "log:\nmalloc failed")],
)
def test_what_ipykernel_says_on_its_start_is_no_reason(said, told):
    greeting = "To connect another client to this kernel, use:\n    --existing /run/c.json\n"
    state = observe(pod("Failed", state=ended(3, message=greeting + said)))
    assert state.message.endswith(told)
    assert "--existing" not in state.message


def test_an_image_without_a_shell():
    message = 'exec: "/bin/sh": stat /bin/sh: no such file or directory'
    given = pod("Failed", state=ended(128, "StartError", message=message))
    state = observe(given, answered=False)
    assert state.reason == "BadCommand"
    assert "set restartInPlace: false in the JupyterKernelSpec" in state.message


def test_times_and_exit_code():
    state = observe(CASES["crashed"][0])
    assert (state.started, state.finished, state.exit_code) == (*RAN.values(), 3)
