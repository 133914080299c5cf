"""What sharing GPUs goes by, as it is read from pods and nodes."""

from decimal import Decimal

import pytest

from hub_service.kinds import LABEL_OWNER, LABEL_WARM, SCHEDULING_GATE
from hub_service.sharing import pods
from hub_service.sharing.suitable import Suitable
from hub_service.starts import room

GPU = "nvidia.com/gpu"
STAMP = "2030-01-02T03:04:05Z"
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: none."


def a_pod(name="k", gpus=1, *, owner="alice", phase="Pending", words=None, deleting=False, **spec):
    resources = {"limits": {GPU: gpus}} if gpus else {}
    status = {"phase": phase}
    if words:
        status["conditions"] = [{"type": "PodScheduled", "status": "False", "message": words}]
    metadata = {"name": name, "namespace": "users", "creationTimestamp": STAMP}
    metadata |= {"labels": {LABEL_OWNER: owner}, "resourceVersion": "7"}
    if deleting:
        metadata["deletionTimestamp"] = STAMP
    containers = [{"name": "kernel", "image": "i", "resources": resources}]
    return {"metadata": metadata, "spec": {"containers": containers, **spec}, "status": status}


def a_node(name="n", gpus="2", *, labels=None, taints=None, ready="True", **spec):
    status = {
        "allocatable": {GPU: gpus, "cpu": "8"},
        "capacity": {GPU: "4", "cpu": "8"},
        "conditions": [{"type": "Ready", "status": ready}],
    }
    item = {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": status}
    if taints:
        item["spec"]["taints"] = taints
    return room.node(item)


def read(pod, *nodes):
    return pods.waiting(pod, pods.asked(pod), Suitable(nodes))


def test_a_gate_is_put_and_taken_away_and_others_stay():
    pod = a_pod(schedulingGates=[{"name": "example.org/other"}])
    behind = pods.gated(pod)
    assert (pods.is_gated(pod), pods.is_gated(behind)) == (False, True)
    assert pods.without_gate(behind) == {
        "metadata": {"resourceVersion": "7"},
        "spec": {"schedulingGates": [{"name": "example.org/other"}]},
    }
    assert pods.gates(behind) == ["example.org/other", SCHEDULING_GATE]


def test_what_waits():
    assert pods.waits(a_pod())
    assert pods.waits(pods.gated(a_pod()))
    assert not pods.waits(a_pod(nodeName="n"))
    assert not pods.waits(a_pod(deleting=True))
    assert not pods.waits(a_pod(phase="Failed"))
    assert not pods.waits(a_pod(schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]))


def test_warm_pods_give_their_gpus_back():
    def warm(**options):
        pod = a_pod(owner="", **options)
        pod["metadata"]["labels"][LABEL_WARM] = "true"
        return pod

    assert not pods.makes_way(warm())
    assert pods.makes_way(warm(nodeName="n", phase="Running"))
    assert not pods.holds(warm(nodeName="n", phase="Running"))
    assert pods.holds(warm(gpus=0, nodeName="n", phase="Running"))


def test_a_pod_as_one_that_waits():
    one = read(a_pod(gpus=2), a_node("n", "2"), a_node("small", "1"))
    assert (one.owner, one.gpus, one.released, one.refused) == ("alice", 2, True, False)
    assert one.amounts == {GPU: Decimal(2)}
    # A device that is broken may be mended: by what it has at best, `small` has four.
    assert one.nodes == {"n", "small"}
    assert read(a_pod(gpus=5), a_node()).nodes == frozenset()
    assert read(a_pod()).nodes is None
    assert not read(pods.gated(a_pod())).released
    assert read(a_pod(words=NO_GPU)).refused
    assert not read(a_pod(words="0/1 nodes are available: 1 Insufficient cpu.")).refused
    assert one.line == read(pods.gated(a_pod("other", owner="bob"))).line
    assert one.line != read(a_pod(nodeSelector={"pool": "a"})).line


TWO = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: none."
ONE = (
    "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had volume node affinity "
    "conflict."
)
CLAIM = {"volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "c"}}]}
CERTAIN = {
    "not looked at": ({}, {}, True),
    "too few on all": ({"words": TWO}, {}, True),
    "something else on one": ({"words": ONE}, {}, False),
    "a volume, in one zone": (CLAIM, {"labels": {"topology.kubernetes.io/zone": "a"}}, True),
    "a volume, in one of two zones": (
        CLAIM,
        {"labels": {"topology.kubernetes.io/zone": "b"}},
        False,
    ),
}


@pytest.mark.parametrize(("pod", "other", "expected"), CERTAIN.values(), ids=CERTAIN.keys())
def test_whether_only_gpus_are_lacking(pod, other, expected):
    here = a_node("n", labels={"topology.kubernetes.io/zone": "a"})
    other = {"labels": {"topology.kubernetes.io/zone": "a"}} | other
    one = read(a_pod(**pod), here, a_node("m", **other))
    assert one.nodes == {"n", "m"}
    assert one.certain is expected


CPU_TOO = "0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu."
GPUS_OF_BOTH = "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu."


def test_nodes_without_gpus_are_among_those_that_the_scheduler_counts():
    bare = room.node(
        {"metadata": {"name": "bare"}, "status": {"allocatable": {"cpu": "8"}}, "spec": {}}
    )
    cpu = read(a_pod(words=CPU_TOO), a_node(), bare)
    assert (cpu.nodes, cpu.certain) == ({"n"}, False)
    gpu = read(a_pod(words=GPUS_OF_BOTH), a_node(), bare)
    assert (gpu.certain, gpu.short) == (True, {"cpu"})


def test_for_whom_the_scheduler_ends_others():
    pod = a_pod(words=NO_GPU)
    assert not read(pod, a_node()).promised
    pod["status"]["nominatedNodeName"] = "n"
    assert read(pod, a_node()).promised


def test_what_owners_hold_and_what_is_free():
    here = [
        a_pod("1", 2, nodeName="n"), a_pod("2", nodeName="n", phase="Running"),
        a_pod("3", owner="bob", nodeName="n", deleting=True),
        a_pod("4", nodeName="n", phase="Failed"), a_pod("5", owner="bob"),
    ]  # fmt: skip
    assert pods.held_by_owner(here) == {"alice": 3, "bob": 1}
    room = pods.free(
        [a_node("n", "8"), a_node("m", "1")], [(p, pods.asked(p).amounts) for p in here]
    )
    assert (room.of("n")[GPU], room.of("m")[GPU]) == (4, 1)


def required(*expressions, **fields):
    term = {"matchExpressions": [*expressions], **fields}
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": wanted}}


def says(key, operator, *values):
    return {"key": key, "operator": operator, "values": [*values]}


TAINT = {"key": "gpu", "value": "a100", "effect": "NoSchedule"}
LABELLED = {"labels": {"pool": "a", "size": "8"}}
SUITS = {
    "any": ({}, {}, True),
    "selector": ({"nodeSelector": {"pool": "a"}}, LABELLED, True),
    "another selector": ({"nodeSelector": {"pool": "b"}}, LABELLED, False),
    "closed": ({}, {"unschedulable": True}, False),
    "not ready": ({}, {"ready": "Unknown"}, False),
    "taint": ({}, {"taints": [TAINT]}, False),
    "a taint that only says what is liked": (
        {}, {"taints": [TAINT | {"effect": "PreferNoSchedule"}]}, True,
    ),
    "tolerated": (
        {"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {"taints": [TAINT]}, True,
    ),
    "all tolerated": ({"tolerations": [{"operator": "Exists"}]}, {"taints": [TAINT]}, True),
    "by value": ({"tolerations": [{"key": "gpu", "value": "a100"}]}, {"taints": [TAINT]}, True),
    "another value": (
        {"tolerations": [{"key": "gpu", "value": "b"}]}, {"taints": [TAINT]}, False,
    ),
    "another effect": (
        {"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]},
        {"taints": [TAINT]},
        False,
    ),
    "affinity": (required(says("pool", "In", "a", "b")), LABELLED, True),
    "not in": (required(says("pool", "NotIn", "a")), LABELLED, False),
    "exists": (required(says("pool", "Exists"), says("none", "DoesNotExist")), LABELLED, True),
    "greater": (required(says("size", "Gt", "4")), LABELLED, True),
    "less": (required(says("size", "Lt", "4")), LABELLED, False),
    "no number": (required(says("none", "Gt", "4")), LABELLED, False),
    "by name": (required(matchFields=[says("metadata.name", "In", "m")]), {}, False),
    "nothing said": (required(), {}, False),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "node", "expected"), SUITS.values(), ids=SUITS.keys())
def test_which_nodes_a_pod_may_run_on(spec, node, expected):
    one = read(a_pod(**spec), a_node(**node))
    assert one.nodes == (frozenset({"n"}) if expected else frozenset())
