"""How a start is judged, from the pod, its Events and the settings."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from hub_service import quantities
from hub_service.kinds import LABEL_OWNER, SCHEDULING_GATE
from hub_service.starts import events as pod_events
from hub_service.starts import line, room
from hub_service.starts.judge import Times, judge, judge_refusal, wants_nodes

MADE = datetime(2030, 1, 1, tzinfo=UTC)
TIMES = Times(admission=10, scheduling=1000, image=100, container=50)
GPU = "nvidia.com/gpu"


def at(seconds):
    return MADE + timedelta(seconds=seconds)


def stamp(seconds):
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def a_pod(*, words=None, node=None, state=None, init=None, wants=None, name="k", age=0, **spec):
    """A pod that was made at MADE, and got its node 10 s later if it has one."""
    container = {"name": "kernel", "image": "gpu:1", "resources": {"requests": wants or {}}}
    status = {"phase": "Pending"}
    if words:
        status["conditions"] = [{"type": "PodScheduled", "status": "False", "message": words}]
    if node:
        spec["nodeName"] = node
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(10)}
        status["conditions"] = [scheduled]
    if state:
        status["containerStatuses"] = [{"name": "kernel", "state": state}]
    if init:
        spec["initContainers"] = [{"name": name, "image": "i"} for name in init]
        status["initContainerStatuses"] = [
            {"name": name, "state": state} for name, state in init.items()
        ]
    metadata = {"name": name, "uid": name, "creationTimestamp": stamp(-age)}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}, "status": status}


def waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def an_event(reason, message="", *, container=None, seconds=10, count=1):
    about = {"kind": "Pod", "uid": "k"}
    if container:
        about["fieldPath"] = f"spec.containers{{{container}}}"
    return {
        "metadata": {"creationTimestamp": stamp(seconds)},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "firstTimestamp": stamp(seconds),
        "lastTimestamp": stamp(seconds),
        "count": count,
    }


NO_GPU = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes: none."
NO_CLAIM = '0/2 nodes are available: persistentvolumeclaim "home" not found. preemption: x'
NOT_FOUND = "rpc error: code = NotFound desc = failed to resolve gpu:1: gpu:1: not found"
NO_HOST = "failed to do request: dial tcp: lookup registry: no such host"
PULLING = an_event("Pulling", 'Pulling image "gpu:1"', container="kernel", seconds=12)
MOUNT = "FailedMount"
NO_SECRET = 'MountVolume.SetUp failed for volume "a" : secret "s" not found'

# name: (pod, events, seconds after it was made, phase, reason, words, since, deadline)
STEPS = {
    "not looked at": (a_pod(), [], 1, "Pending", "PodPending", "waits for a node", 0, 1000),
    "in line": (
        a_pod(words=NO_GPU), [], 1, "Pending", "Unschedulable",
        "(0/2 nodes are available: 2 Insufficient nvidia.com/gpu.)", 0, 1000,
    ),
    "a node comes": (
        a_pod(words=NO_GPU), [an_event("TriggeredScaleUp", "pool 0->1")], 20,
        "Pending", "ScalingUp", "A node is being added to the cluster for this kernel. (pool 0->1)",
        0, 1000,
    ),
    "no node comes": (
        a_pod(words=NO_GPU),
        [an_event("TriggeredScaleUp"), an_event("NotTriggerScaleUp", "at its most", seconds=15)],
        20, "Pending", "Unschedulable", "at its most", 0, 1000,
    ),
    "claim not there yet": (
        a_pod(words=NO_CLAIM), [], 2, "Pending", "Unschedulable", "No node takes", 0, 1000,
    ),
    "claim not there": (
        a_pod(words=NO_CLAIM), [], 3, "Failed", "ReferenceNotFound",
        "needs the PersistentVolumeClaim 'home'", 0, None,
    ),
    "on a node": (a_pod(node="n"), [], 11, "Starting", "ContainerCreating", "created", 10, 60),
    "pulling": (
        a_pod(node="n", state=waiting("ContainerCreating")), [PULLING], 60, "Starting",
        "PullingImage", "The image gpu:1 is being pulled", 12, 112,
    ),
    "another container's image": (
        a_pod(node="n", state=waiting("ContainerCreating")),
        [an_event("Pulling", container="beside")], 11, "Starting", "ContainerCreating", "", 10, 60,
    ),
    "pulling for too long": (
        a_pod(node="n", state=waiting("ContainerCreating")), [PULLING], 112, "Failed",
        "ImageTimeout", "longer than the 100 s that start.imageTimeout allows", 12, None,
    ),
    "no such image": (
        a_pod(node="n", state=waiting("ErrImagePull", NOT_FOUND)), [PULLING], 13, "Failed",
        "ImageNotFound", "gpu:1 does not exist", 12, None,
    ),
    "not given to us": (
        a_pod(node="n", state=waiting("ErrImagePull", "pull access denied")), [], 13, "Failed",
        "ImagePullFailed", "pull secret", 10, None,
    ),
    "registry unknown, first try": (
        a_pod(node="n", state=waiting("ErrImagePull", NO_HOST)), [PULLING], 13, "Starting",
        "ImageError", "tried again", 12, 112,
    ),
    "registry unknown, third try": (
        a_pod(node="n", state=waiting("ImagePullBackOff", NO_HOST)),
        [PULLING, an_event("Failed", "Failed to pull image gpu:1", container="kernel", count=3)],
        50, "Failed", "ImagePullFailed", "in 3 tries", 12, None,
    ),
    "an image for an init container": (
        a_pod(node="n", init={"prepare": waiting("ErrImagePull", NOT_FOUND)}), [], 13, "Failed",
        "ImageNotFound", "image i does not exist", 10, None,
    ),
    "bad name": (
        a_pod(node="n", state=waiting("InvalidImageName", "x")), [], 13, "Failed",
        "InvalidImageName", "'gpu:1'", 10, None,
    ),
    "never pulled": (
        a_pod(node="n", state=waiting("ErrImageNeverPull", "x")), [], 13, "Failed",
        "ImageNotFound", "policy is Never", 10, None,
    ),
    "config map not there yet": (
        a_pod(node="n", state=waiting("CreateContainerConfigError", 'configmap "c" not found')),
        [], 12, "Starting", "ContainerError", "tried again", 10, 60,
    ),
    "config map not there": (
        a_pod(node="n", state=waiting("CreateContainerConfigError", 'configmap "c" not found')),
        [], 13, "Failed", "ReferenceNotFound", "needs the ConfigMap 'c'", 10, None,
    ),
    "kubelet waits for its cache": (
        a_pod(
            node="n",
            state=waiting("CreateContainerConfigError", "failed to sync configmap cache"),
        ),
        [], 30, "Starting", "ContainerError", "", 10, 60,
    ),
    "may not be root": (
        a_pod(node="n", state=waiting("CreateContainerConfigError", "image will run as root")),
        [], 13, "Failed", "ContainerError", "run as root", 10, None,
    ),
    "no command at all": (
        a_pod(node="n", state=waiting("CreateContainerError", "no command specified")), [], 10,
        "Failed", "BadCommand", "no command specified", 10, None,
    ),
    "name in use": (
        a_pod(node="n", state=waiting("CreateContainerError", "name is reserved")), [], 59,
        "Starting", "ContainerError", "name is reserved", 10, 60,
    ),
    "secret missed once": (
        a_pod(node="n"), [an_event(MOUNT, NO_SECRET)], 20, "Starting", "ContainerCreating",
        "can't be created yet", 10, 60,
    ),
    "secret missed twice": (
        a_pod(node="n"), [an_event(MOUNT, NO_SECRET, count=2)], 20, "Failed", "ReferenceNotFound",
        "needs the Secret 's'", 10, None,
    ),
    "secret not registered with kubelet yet": (
        a_pod(node="n"), [an_event(MOUNT, 'object "a"/"s" not registered', count=9)], 20,
        "Starting", "ContainerCreating", "not registered", 10, 60,
    ),
    "a disk is slow": (
        a_pod(node="n"), [an_event("FailedAttachVolume", "in use elsewhere", count=9)], 59,
        "Starting", "ContainerCreating", "in use elsewhere", 10, 60,
    ),
    "a disk is too slow": (
        a_pod(node="n"), [an_event("FailedAttachVolume", "in use elsewhere", count=9)], 60,
        "Failed", "ContainerTimeout", "in use elsewhere", 10, None,
    ),
    "init container": (
        a_pod(node="n", init={"prepare": {"running": {"startedAt": stamp(30)}}}), [], 70,
        "Starting", "Initializing", "init container prepare runs", 30, 80,
    ),
    "packages": (
        a_pod(node="n", init={"packages": {"running": {"startedAt": stamp(30)}}}), [], 70,
        "Starting", "Initializing", "packages are being installed", 30, 80,
    ),
    "after an init container": (
        a_pod(
            node="n", init={"prepare": {"terminated": {"finishedAt": stamp(70)}}},
            state=waiting("PodInitializing"),
        ),
        [], 75, "Starting", "ContainerCreating", "", 70, 120,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("pod", "events", "seconds", "phase", "reason", "words", "since", "deadline"),
    STEPS.values(),
    ids=STEPS.keys(),
)
def test_steps(pod, events, seconds, phase, reason, words, since, deadline):
    verdict = judge(pod, events, times=TIMES, now=at(seconds))
    assert (verdict.state.phase, verdict.state.reason) == (phase, reason)
    assert words in verdict.state.message
    assert verdict.since == at(since)
    assert verdict.deadline == (None if deadline is None else at(deadline))
    if phase != "Failed":
        assert at(seconds) < verdict.again <= verdict.deadline


def test_what_has_no_deadline_is_not_looked_at_again():
    endless = Times(0, 0, 0, -1)
    verdict = judge(a_pod(node="n"), [], times=endless, now=at(10**6))
    assert (verdict.state.phase, verdict.deadline, verdict.again) == ("Starting", None, None)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (0, "Waiting for 2 GPUs (nvidia.com/gpu): not free at present. This kernel is the first"),
        (1, "1 kernel waits before this one."),
        (7, "7 kernels wait before this one."),
    ],
)
def test_a_place_in_line(before, words):
    pod = a_pod(words=NO_GPU, wants={GPU: "2"})
    verdict = judge(pod, [], times=TIMES, now=at(1), before=before)
    assert (verdict.state.reason, verdict.before) == ("Unschedulable", before)
    assert words in verdict.state.message


def gated(name="k", owner="alice", *, gate=SCHEDULING_GATE, **more):
    """As the API server says it, and for a moment still does when the gate is gone."""
    words = "Scheduling is blocked due to non-empty scheduling gates"
    pod = a_pod(name=name, words=words, wants={GPU: "1"}, **more)
    pod["status"]["conditions"][0]["reason"] = "SchedulingGated"
    pod["metadata"] |= {"namespace": "users", "labels": {LABEL_OWNER: owner}}
    if gate:
        pod["spec"]["schedulingGates"] = [{"name": gate}]
    return pod


def test_behind_our_gate_it_waits_in_line():
    verdict = judge(gated(), [], times=TIMES, now=at(1), before=3, nodes=TWO)
    assert (verdict.state.reason, verdict.before) == ("WaitingInLine", 3)
    assert verdict.state.message == (
        "Waiting for 1 GPU (nvidia.com/gpu): not free at present. 3 kernels wait before this one. "
        "Those who hold fewer GPUs come first."
    )
    assert (verdict.deadline, verdict.again) == (at(1000), at(6))
    assert judge(gated(), [], times=TIMES, now=at(1000)).state.reason == "SchedulingTimeout"


def test_what_no_node_can_take_does_not_wait_in_line():
    pod = gated(nodeSelector={"pool": "b"})
    assert wants_nodes(pod)
    assert judge(pod, [], times=TIMES, now=at(1), nodes=TWO).state.reason == "NoMatchingNode"
    growing = TIMES._replace(autoscaler=True)
    verdict = judge(pod, [], times=growing, now=at(1), nodes=TWO)
    assert verdict.state.reason == "WaitingInLine"


def test_behind_a_gate_of_others_it_waits_for_them():
    verdict = judge(gated(gate="example.org/other"), [], times=TIMES, now=at(1))
    assert verdict.state.reason == "SchedulingGated"
    assert "(example.org/other)" in verdict.state.message


def test_in_a_queue_of_kueues():
    pod = gated(gate="kueue.x-k8s.io/admission")
    pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team"
    verdict = judge(pod, [], times=TIMES, now=at(1), queue="1 more needed")
    assert verdict.state.reason == "SchedulingGated"
    assert verdict.state.message == (
        "Waiting in the queue team, until Kueue lets this kernel on. (1 more needed)"
    )


def test_let_on_but_not_looked_at_yet():
    pod = gated(gate=None)
    assert not wants_nodes(pod)
    assert judge(pod, [], times=TIMES, now=at(1)).state.reason == "PodPending"


def test_the_line_behind_the_gate_is_fair_and_after_those_whom_the_scheduler_sees():
    pods = [
        gated("a1", "a", age=9), gated("a2", "a", age=8), gated("b", "b", age=7),
        gated("c", "c", age=6), a_pod(name="first", age=1, words=NO_GPU, wants={GPU: 1}),
    ]  # fmt: skip
    pods[-1]["metadata"]["labels"] = {LABEL_OWNER: "c"}
    now = line.Line(pods, {"b": 5})
    before = {pod["metadata"]["name"]: now.before(pod) for pod in pods}
    # `c` has one before all others, and so is behind the first of `a`.
    assert before == {"first": 0, "a1": 1, "a2": 2, "c": 3, "b": 4}


def nodes(*allocatable, **labels):
    items = [
        {"metadata": {"name": f"n{i}", "labels": labels}, "status": {"allocatable": amounts}}
        for i, amounts in enumerate(allocatable)
    ]
    return [room.node(item) for item in items]


TWO = nodes({GPU: "1", "memory": "64Gi", "cpu": "8"}, {GPU: "4", "memory": "16Gi", "cpu": "8"})
SIZES = {
    "fits": ({GPU: "4", "memory": "16Gi"}, {}, None, ""),
    "too many": ({GPU: 5}, {}, "LargerThanAnyNode", "5 GPUs (nvidia.com/gpu), more than any node"),
    "none of it": ({"a.com/b": 1}, {}, "LargerThanAnyNode", "the most that one has is none at all"),
    "memory": ({"memory": "65Gi"}, {}, "LargerThanAnyNode", "65Gi of memory"),
    "cpu": ({"cpu": "8001m"}, {}, "LargerThanAnyNode", "8.001 CPUs"),
    "not together": ({GPU: 2, "memory": "32Gi"}, {}, "LargerThanAnyNode", "together"),
    "no such label": ({}, {"pool": "a100"}, "NoMatchingNode", "pool=a100"),
}


@pytest.mark.parametrize(("wants", "selector", "reason", "words"), SIZES.values(), ids=SIZES.keys())
def test_what_no_node_can_take(wants, selector, reason, words):
    pod = a_pod(words=NO_GPU, wants=wants, nodeSelector=selector)
    assert wants_nodes(pod)
    verdict = judge(pod, [], times=TIMES, now=at(1), nodes=TWO)
    assert verdict.state.reason == (reason or "Unschedulable")
    assert words in verdict.state.message


DEVICES = {
    "its plugin is away, as after the kubelet's restart": ("0", "0", "Unschedulable"),
    "broken, for now": ("1", "4", "Unschedulable"),
    "too few": ("3", "3", "LargerThanAnyNode"),
}


@pytest.mark.parametrize(("usable", "there", "reason"), DEVICES.values(), ids=DEVICES.keys())
def test_devices_that_may_come_back(usable, there, reason):
    status = {"allocatable": {GPU: usable}, "capacity": {GPU: there}}
    known = [room.node({"metadata": {"name": "n"}, "status": status})]
    pod = a_pod(words=NO_GPU, wants={GPU: 4})
    assert judge(pod, [], times=TIMES, now=at(1), nodes=known).state.reason == reason


@pytest.mark.parametrize(
    ("known", "events", "autoscaler"),
    [
        ([], [], False),
        (TWO, [], True),
        (TWO, [an_event("NotTriggerScaleUp", "later")], False),
    ],
    ids=["nodes aren't known", "the setting", "an autoscaler has spoken"],
)
def test_what_may_fit_a_node_to_come_waits(known, events, autoscaler):
    pod = a_pod(words=NO_GPU, wants={GPU: 99})
    times = TIMES._replace(autoscaler=autoscaler)
    verdict = judge(pod, events, times=times, now=at(1), nodes=known)
    assert verdict.state.reason == "Unschedulable"


def test_a_node_of_the_right_label_is_one():
    pod = a_pod(words=NO_GPU, wants={GPU: 1}, nodeSelector={"pool": "a"})
    assert room.never_fits(pod, nodes({GPU: "2"}, pool="a")) is None
    assert not wants_nodes(a_pod(node="n"))
    assert not wants_nodes(a_pod())


def test_the_line_goes_by_age_and_by_what_is_wanted():
    pods = [
        a_pod(name="c", age=1, words=NO_GPU),
        a_pod(name="a", age=3, words=NO_GPU),
        a_pod(name="memory", age=9, words="0/1: 1 Insufficient memory."),
        a_pod(name="pool", age=8, words=NO_GPU, nodeSelector={"pool": "x"}),
        a_pod(name="claim", age=7, words=NO_CLAIM),
        a_pod(name="b", age=2, words=NO_GPU),
    ]
    now = line.Line(pods)
    before = {pod["metadata"]["name"]: now.before(pod) for pod in pods}
    assert before == {"a": 0, "b": 1, "c": 2, "memory": 0, "pool": 0, "claim": None}
    for number in range(2):  # asked again it has the same place
        assert now.before(a_pod(name="late", age=1, words=NO_GPU)) == 3, number
    assert now.before(a_pod(name="later", age=0, words=NO_GPU)) == 4
    assert [line.unscheduled(pod) for pod in (a_pod(), a_pod(node="n"))] == ["", None]


QUOTA = (
    'pods "k" is forbidden: exceeded quota: gpus, requested: {requested}, used: '
    "requests.nvidia.com/gpu=3, limited: requests.nvidia.com/gpu=4"
)
REFUSALS = {
    "policy": ("Nobody may", True, 1, "Failed", "PodRejected", "Nobody may"),
    "full": (
        QUOTA.format(requested="requests.nvidia.com/gpu=2"), True, 1,
        "Pending", "NamespaceFull", "ResourceQuota",
    ),
    "full for too long": (
        QUOTA.format(requested="requests.nvidia.com/gpu=2"), True, 1000,
        "Failed", "SchedulingTimeout", "start.schedulingTimeout",
    ),
    "never": (
        QUOTA.format(requested="requests.nvidia.com/gpu=5"), True, 1,
        "Failed", "NamespaceQuotaExceeded", "together may have 4",
    ),
    "no answer": ("time-out", False, 9, "Pending", "PodNotMade", "asked again. (time-out)"),
    "no answer for long": (
        "time-out", False, 10, "Failed", "AdmissionTimeout", "start.admissionTimeout",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "refused", "seconds", "phase", "reason", "words"),
    REFUSALS.values(),
    ids=REFUSALS.keys(),
)
def test_a_pod_that_is_not_made(said, refused, seconds, phase, reason, words):
    verdict = judge_refusal(said, refused=refused, since=MADE, times=TIMES, now=at(seconds))
    assert (verdict.state.phase, verdict.state.reason) == (phase, reason)
    assert words in verdict.state.message


def test_events_of_both_apis_are_read():
    new = {
        "metadata": {"creationTimestamp": stamp(1)},
        "eventTime": "2030-01-01T00:00:02.500000Z",
        "firstTimestamp": None,
        "lastTimestamp": None,
        "series": {"count": 4, "lastObservedTime": "2030-01-01T00:00:30.000000Z"},
        "message": "two\nlines",
    }
    assert pod_events.first_at(new) == at(2.5)
    assert pod_events.last_at(new) == at(30)
    assert pod_events.times(new) == 4
    assert pod_events.message(new) == "two lines"
    old = an_event("Pulling", count=3, seconds=7)
    assert (pod_events.last_at(old), pod_events.times(old)) == (at(7), 3)
    bare = {"metadata": {"creationTimestamp": stamp(1)}}
    assert (pod_events.first_at(bare), pod_events.times(bare)) == (at(1), 1)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"), ("500m", "0.5"), ("2Gi", 2 * 1024**3), ("1.5k", "1500"), ("1e3", "1000"),
        ("2E", 2 * 10**18), ("1Ei", 1024**6), ("100n", "0.0000001"), (3, "3"),
    ],
)  # fmt: skip
def test_quantities(text, number):
    assert quantities.parse(text) == Decimal(number)


def test_no_quantity():
    with pytest.raises(ValueError, match="'much' is no quantity"):
        quantities.parse("much")


def test_requests_are_counted_as_the_scheduler_does():
    pod = {
        "spec": {
            "containers": [
                {"name": "a", "resources": {"limits": {GPU: 1, "memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}}},
            ],
            "initContainers": [
                {"name": "c", "resources": {"requests": {"cpu": "3", "memory": "512Mi"}}},
                {"name": "d", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
            ],
            "overhead": {"memory": "64Mi"},
        }
    }
    counted = quantities.requests(pod)
    assert counted == {
        GPU: 1,
        "memory": Decimal(1024**3 + 64 * 1024**2),
        "cpu": 3,
    }
    assert quantities.words("memory", counted["memory"]) == "1.1Gi of memory"
    assert quantities.words("cpu", Decimal(1)) == "1 CPU"
    assert quantities.words("a.com/b", Decimal(20)) == "20 a.com/b"
