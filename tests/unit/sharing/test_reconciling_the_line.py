"""The line as it is kept: pods come behind the gate, go on, and kernels are chosen to end."""

import itertools
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from hub_service.culling import Policy
from hub_service.kinds import JUPYTER_KERNELS, LABEL_OWNER, LABEL_WARM, PODS, SCHEDULING_GATE
from hub_service.kube import Key, key_of
from hub_service.kube.store import Store
from hub_service.reconcile.sharing import LINE, Sharing
from hub_service.reconcile.starts import WITH_GPUS
from hub_service.sharing import kueue
from hub_service.sharing.pods import asks_for_gpus
from hub_service.starts import room

GPU = "nvidia.com/gpu"
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def stamp(seconds):
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Hall:
    """The copies that the line is kept on, and an API server that takes gates away."""

    def __init__(self, gpus=2, *, fair=True, most=1, reclaim_after=600):
        self.kernels, self.pods = Store(), Store({WITH_GPUS: asks_for_gpus})
        self.node = {
            "metadata": {"name": "n"},
            "status": {"allocatable": {GPU: str(gpus)}, "capacity": {GPU: str(gpus)}},
        }
        self.woken = []
        self.let_on = []
        self._versions = itertools.count(1)
        self.sharing = Sharing(
            SimpleNamespace(merge_patch=self._patch),
            kernels=SimpleNamespace(store=self.kernels),
            pods=SimpleNamespace(store=self.pods, record=self.pods.record),
            nodes=self._nodes,
            policies=SimpleNamespace(of=lambda _: Policy(reclaim_after=reclaim_after)),
            covers=lambda namespace: namespace != "elsewhere",
            fair=fair,
            most=most,
            look_at=self.woken.append,
        )

    async def _nodes(self):
        return [room.node(self.node)]

    async def _patch(self, resource, namespace, name, body):
        assert resource is PODS
        pod = self.pods.get((namespace, name))
        self.let_on.append(name)
        spec = {**pod["spec"], **body["spec"]}
        return self._versioned({**pod, "spec": spec})

    def _versioned(self, item):
        metadata = {**item["metadata"], "resourceVersion": str(next(self._versions))}
        return {**item, "metadata": metadata}

    def start(self, name, owner="ada", gpus=1, *, age=0, warm=False, where="users"):
        """Make a pod as the service does; whether it came behind the gate."""
        labels = {LABEL_OWNER: owner} | ({LABEL_WARM: "true"} if warm else {})
        kernel = {
            "metadata": {"name": name, "namespace": where, "uid": f"kernel-{name}"},
            "spec": {"owner": owner},
        }
        reference = {"kind": JUPYTER_KERNELS.kind, "name": name, "uid": f"kernel-{name}"}
        pod = {
            "metadata": {
                "name": name, "namespace": where, "uid": name, "labels": labels,
                "creationTimestamp": stamp(-age),
                "ownerReferences": [] if warm else [reference | {"controller": True}],
            },
            "spec": {"containers": [{"name": "k", "resources": {"limits": {GPU: gpus}}}]},
            "status": {"phase": "Pending"},
        }  # fmt: skip
        with self.sharing.joining(pod) as made:
            self.pods.put(self._versioned(made))
        if not warm:
            self.kernels.put(self._versioned(kernel))
        return bool(made["spec"].get("schedulingGates"))

    def change(self, name, *, node=None, refused=False, deleting=False):
        pod = self.pods.get(("users", name))
        if node:
            pod = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        if refused:
            said = [{"type": "PodScheduled", "status": "False", "message": NO_GPU}]
            pod = {**pod, "status": {"phase": "Pending", "conditions": said}}
        if deleting:
            pod = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": stamp(0)}}
        self.pods.put(self._versioned(pod))

    def gone(self, name):
        self.pods.remove(self._versioned(self.pods.get(("users", name))))

    def runs(self, name, owner="ada", gpus=1, *, idle=None):
        """A kernel that has its GPU, busy or idle for so many seconds."""
        self.start(name, owner, gpus)
        self.change(name, node="n")
        self.does(name, idle=idle)

    def does(self, name, *, idle=None, phase="Running"):
        kernel = self.kernels.get(("users", name))
        activity = {"executionState": "busy", "lastActivity": stamp(0)}
        if idle is not None:
            activity = {"executionState": "idle", "lastActivity": stamp(-idle)}
        status = {"phase": phase, "startTime": stamp(-9999), "activity": activity}
        self.kernels.put(self._versioned({**kernel, "status": status}))

    async def look(self):
        return await self.sharing.reconcile(LINE)

    def chosen(self, *names):
        return [name for name in names if self.sharing.demand_of(Key("users", name))]


async def test_while_there_is_room_nobody_waits_behind_the_gate():
    hall = Hall(gpus=2)
    await hall.look()
    assert [hall.start("a"), hall.start("b")] == [False, False]
    # One that does not fit goes on as well, for the scheduler knows better; the next does not.
    assert [hall.start("c"), hall.start("d")] == [False, True]
    await hall.look()
    assert hall.let_on == []


async def test_many_at_once_before_anything_is_known_go_on_when_it_is():
    hall = Hall(gpus=50)
    assert [hall.start(f"k{n}") for n in range(60)] == [False] + [True] * 59
    await hall.look()
    assert len(hall.let_on) == 50


async def test_the_next_goes_on_when_one_has_its_node_and_by_the_fair_order():
    hall = Hall(gpus=2)
    await hall.look()
    hall.runs("hers", "ada")
    hall.runs("first", "eve")
    await hall.look()
    assert not hall.start("head", "eve", age=9)
    hall.change("head", refused=True)
    for name, owner, age in (("a", "ada", 8), ("b", "bob", 5), ("b2", "bob", 4), ("c", "cy", 3)):
        assert hall.start(name, owner, age=age)
    await hall.look()
    assert hall.let_on == []
    for gone, comes in (("first", "head"), ("head", "b"), ("b", "c"), ("c", "b2"), ("b2", "a")):
        hall.gone(gone)
        hall.change(comes, node="n")
        await hall.look()
    # `ada` has one all the while.
    assert hall.let_on == ["b", "c", "b2", "a"]


async def test_without_the_line_all_go_on():
    hall = Hall(gpus=1)
    hall.runs("one")
    await hall.look()
    hall.start("a")
    assert hall.start("b")
    assert hall.start("c")
    other = Hall(gpus=1, fair=False)
    other.pods = hall.pods
    other.sharing._pods = SimpleNamespace(store=hall.pods, record=hall.pods.record)
    assert not other.start("d")
    await other.look()
    assert other.let_on == ["b", "c"]
    assert other.pods.get(("users", "b"))["spec"]["schedulingGates"] == []


async def test_two_idle_holders_and_one_newcomer():
    hall = Hall(gpus=2)
    hall.runs("short", idle=700)
    hall.runs("long", idle=7000)
    await hall.look()
    assert hall.chosen("short", "long") == []
    hall.start("newcomer", "bob")
    await hall.look()
    assert hall.chosen("short", "long") == ["long"]
    assert hall.woken == [Key("users", "long")]
    assert hall.sharing.demand_of(Key("users", "long")).by == (
        "another start waits for 1 GPU (nvidia.com/gpu)"
    )
    # While it ends, and when it has, no other is chosen for the same, whatever the scheduler said.
    hall.change("newcomer", refused=True)
    for step in ("culled", "deleting", "gone"):
        if step == "culled":
            hall.does("long", idle=7000, phase="Culled")
        elif step == "deleting":
            hall.change("long", deleting=True)
        else:
            hall.gone("long")
        assert await hall.look() <= 10
        assert hall.chosen("short", "long") == [], step
    hall.change("newcomer", node="n")
    assert await hall.look() is None


async def test_a_busy_one_is_never_chosen_and_one_that_works_again_is_let_go():
    hall = Hall(gpus=2)
    hall.runs("busy")
    hall.runs("idle", idle=700)
    hall.start("newcomer")
    await hall.look()
    assert hall.chosen("busy", "idle") == ["idle"]
    hall.does("idle")
    await hall.look()
    assert hall.chosen("busy", "idle") == []
    assert hall.woken == [Key("users", "idle")] * 2


async def test_one_that_may_be_chosen_soon_is_looked_at_then():
    hall = Hall(gpus=1)
    hall.runs("idle", idle=597)
    hall.start("newcomer")
    again = await hall.look()
    assert 0 < again <= 3
    assert hall.chosen("idle") == []


async def test_who_gives_up_waiting_spares_the_kernel():
    hall = Hall(gpus=1)
    hall.runs("idle", idle=700)
    hall.start("newcomer")
    await hall.look()
    assert hall.chosen("idle") == ["idle"]
    hall.change("newcomer", deleting=True)
    await hall.look()
    assert hall.chosen("idle") == []


async def test_another_is_chosen_while_a_gateway_can_not_say():
    hall = Hall(gpus=2)
    hall.runs("long", idle=7000)
    hall.runs("short", idle=700)
    hall.start("newcomer")
    await hall.look()
    hall.sharing.put_off(Key("users", "long"))
    await hall.look()
    assert hall.chosen("short", "long") == ["short"]


async def test_what_others_hold_of_a_node_is_known_by_the_schedulers_word():
    """Two GPUs of which kernels have one; another program has the other."""
    hall = Hall(gpus=2)
    hall.runs("idle", idle=700)
    hall.start("newcomer")
    hall.change("newcomer", refused=True)
    again = await hall.look()
    assert hall.chosen("idle") == []  # it may be that the scheduler was not there yet
    assert again <= 10
    hall.sharing._settled_at = 0  # a while later
    await hall.look()
    assert hall.chosen("idle") == ["idle"]


async def test_pods_of_namespaces_that_others_look_after_are_left_alone():
    hall = Hall(gpus=1)
    await hall.look()
    hall.runs("idle", idle=700)
    await hall.look()
    hall.start("first", where="elsewhere")
    assert hall.start("second", where="elsewhere")
    await hall.look()
    assert hall.chosen("idle") == []
    assert hall.let_on == []
    # They hold up nobody either.
    assert not hall.start("mine")


async def test_nobody_ends_for_warm_pods():
    hall = Hall(gpus=1)
    hall.runs("idle", idle=700)
    hall.start("spare", warm=True)
    await hall.look()
    assert hall.chosen("idle") == []


async def test_a_warm_pod_that_finds_no_gpu_does_not_close_the_line():
    hall = Hall(gpus=1)
    await hall.look()
    hall.start("ready", warm=True)
    hall.change("ready", node="n")
    hall.start("spare", warm=True)
    hall.change("spare", refused=True)
    await hall.look()
    # It has to be let on: warm pods make way when the scheduler has found nothing for it.
    assert [hall.start("k1"), hall.start("k2"), hall.start("k3")] == [False, False, True]


async def test_what_kernels_without_gpus_hold_of_a_node_is_not_free():
    hall = Hall(gpus=2)
    for field in ("allocatable", "capacity"):
        hall.node["status"][field]["cpu"] = "8"
    hall.runs("idle", idle=700)
    cpu = {"name": "k", "resources": {"requests": {"cpu": "8"}}}
    hall.pods.put(
        {
            "metadata": {"name": "cpu", "namespace": "users", "uid": "cpu", "resourceVersion": "1"},
            "spec": {"nodeName": "n", "containers": [cpu]},
            "status": {"phase": "Running"},
        }
    )
    hall.start("newcomer")
    newcomer = hall.pods.get(("users", "newcomer"))
    container = {"name": "k", "resources": {"limits": {GPU: 2, "cpu": "1"}}}
    hall.pods.put(hall._versioned({**newcomer, "spec": {"containers": [container]}}))
    await hall.look()
    assert hall.chosen("idle") == []
    hall.gone("cpu")
    await hall.look()
    assert hall.chosen("idle") == ["idle"]


async def test_a_template_that_can_not_be_read_is_for_the_api_server_to_refuse():
    hall = Hall(gpus=1)
    await hall.look()
    terms = {"nodeSelectorTerms": {"key": "zone"}}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    containers = [{"name": "k", "resources": {"limits": {GPU: 1}}}]
    pod = {"metadata": {"name": "c", "namespace": "users"}}
    for wrong in ({"affinity": affinity}, {"tolerations": ["gpu"]}, {"schedulingGates": [{}]}):
        given = {**pod, "spec": {"containers": containers, **wrong}}
        with hall.sharing.joining(given) as made:
            assert made == given


@pytest.mark.parametrize("changed", [False, True])
async def test_what_concerns_the_line(changed):
    hall = Hall(gpus=1)
    hall.runs("idle", idle=700)
    hall.start("newcomer")
    before = hall.pods.get(("users", "newcomer"))
    if changed:
        hall.change("newcomer", refused=True)
    after = hall.pods.get(("users", "newcomer"))
    concerned = hall.sharing.of_pod(key_of(after), before, {**after})
    assert list(concerned) == ([LINE] if changed else [])
    assert list(hall.sharing.of_pod(key_of(after), None, after)) == [LINE]
    assert list(hall.sharing.of_pod(key_of(after), after, None)) == [LINE]
    idle = hall.kernels.get(("users", "idle"))
    busy = {**idle, "status": {**idle["status"], "activity": {"executionState": "busy"}}}
    assert list(hall.sharing.of_kernel(key_of(idle), idle, busy)) == []  # before the first look
    await hall.look()
    assert list(hall.sharing.of_kernel(key_of(idle), idle, busy)) == [LINE]
    assert list(hall.sharing.of_kernel(Key("users", "other"), idle, {**idle})) == []
    assert list(hall.sharing.of_kernel(key_of(idle), idle, {**idle})) == [LINE]  # it was chosen


async def test_one_for_a_queue_of_kueues_does_not_wait_in_our_line():
    hall = Hall(gpus=1)
    await hall.look()
    hall.start("a")
    hall.start("b")
    pod = {"metadata": {"name": "c", "namespace": "users", "labels": {}}, "spec": {"containers": [
        {"name": "k", "resources": {"limits": {GPU: 1}}},
    ]}}  # fmt: skip
    with hall.sharing.joining(pod) as made:
        assert made["spec"]["schedulingGates"] == [{"name": SCHEDULING_GATE}]
    for_team = {**pod, "metadata": {**pod["metadata"], "labels": {kueue.LABEL_QUEUE: "team"}}}
    with hall.sharing.joining(for_team) as made:
        assert made == for_team
    hall.sharing._queue = "all"
    with hall.sharing.joining(for_team) as made:
        assert made == for_team
    with hall.sharing.joining(pod) as made:
        assert kueue.queue_of(made) == "all"
        assert "schedulingGates" not in made["spec"]
    without = {**pod, "spec": {"containers": [{"name": "k"}]}}
    with hall.sharing.joining(without) as made:
        assert made is without


def test_the_gates_name_is_one_that_kubernetes_takes():
    prefix, _, name = SCHEDULING_GATE.partition("/")
    assert "." in prefix
    assert name.isalpha()
