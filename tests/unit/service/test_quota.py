"""Admission, as arithmetic and in any order."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_service.kernels import kernel_status
from hub_service.kernels.kernel import is_admitted, is_decided
from hub_service.quotas import quota
from hub_service.quotas.limits import Limit, Source

GPU = "nvidia.com/gpu"
NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def kernel(
    number, *, state="new", owner="alice", incarnation=None, deleting=False, asks=None, **status
):
    """A kernel that came `number` seconds after the others."""
    item = {
        "metadata": {
            "name": f"kernel-{number}",
            "uid": f"u{number}",
            "creationTimestamp": (NOW + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {"owner": owner, "kernelSpecName": "gpu"},
    }
    if asks:
        resources = {{"gpu": GPU}.get(name, name): amount for name, amount in asks.items()}
        container = {"name": "kernel", "resources": {"requests": resources}}
        item["spec"]["template"] = {"spec": {"containers": [container]}}
    if incarnation is not None:
        item["spec"]["incarnation"] = incarnation
    if deleting:
        item["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
    if state != "new":
        admitted = "False" if state == "Refused" else "True"
        item["status"] = {
            "phase": state,
            "incarnation": 0,
            "conditions": [{"type": "Admitted", "status": admitted}],
            **status,
        }
    return item


def limits(**amounts):
    """Limits for everybody; `gpu` is the resource nvidia.com/gpu."""
    return {
        {"gpu": GPU}.get(name, name): Limit(
            None if most is None else Decimal(most), Source("default")
        )
        for name, most in amounts.items()
    }


def decide(new, *others, limit=2, assumed=(), when_full="refuse", **more):
    return quota.decide(
        new,
        others,
        limits=limits(kernels=limit, **more),
        rules=quota.Rules(when_full, "it@example.org"),
        assumed=assumed,
        now=NOW,
    )


CASES = {
    "nobody else": ([], True),
    "itself in the list": ([kernel(9)], True),
    "one running": ([kernel(1, state="Running")], True),
    "two running": ([kernel(1, state="Running"), kernel(2, state="Running")], False),
    "pending ones count": ([kernel(1, state="Pending"), kernel(2, state="Starting")], False),
    "those before it count": ([kernel(1), kernel(2)], False),
    "those after it don't": ([kernel(10), kernel(11)], True),
    "those that ended don't": (
        [kernel(n, state=s) for n, s in enumerate(("Failed", "Succeeded", "Refused", "Culled"))],
        True,
    ),
    "those being deleted don't": (
        [kernel(n, state="Running", deleting=True) for n in (1, 2)],
        True,
    ),
    "a restart holds its place": (
        [kernel(n, state="Running", incarnation=1) for n in (1, 2)],
        False,
    ),
    "a restart after the end waits in line": (
        [kernel(n, state="Failed", incarnation=1) for n in (1, 2)],
        False,
    ),
}


@pytest.mark.parametrize(("others", "admitted"), CASES.values(), ids=CASES.keys())
def test_decide(others, admitted):
    decision = decide(kernel(9), *others)
    assert decision.admitted is admitted
    assert decision.reason == ("WithinQuota" if admitted else "QuotaExceeded")


def test_those_just_admitted_count():
    others = [kernel(20), kernel(21)]  # later ones, whose status does not show it yet
    assert decide(kernel(9), *others).admitted
    assert not decide(kernel(9), *others, assumed={"u20", "u21"}).admitted
    assert decide(kernel(9), *others, assumed={"u20", "u9"}).admitted


def test_a_kernel_without_owner_is_nobodys():
    item = kernel(1)
    del item["spec"]["owner"]
    assert decide(item, limit=0).admitted


IDLE = {"executionState": "idle", "idleSince": "2030-01-01T11:55:00Z"}
WAY_OUT = (
    "Shut one down in JupyterLab (Running Terminals and Kernels) and start again. "
    "For more, ask it@example.org."
)


def test_the_refusal_says_what_there_is_and_what_to_do():
    first = kernel(1, state="Running", activity=IDLE)
    sessions = json.dumps([{"id": "s", "path": "work/digits.ipynb"}])
    first["metadata"]["annotations"] = {"kubeflow.tkestack.io/sessions": sessions}
    second = kernel(2, state="Running", activity={"executionState": "busy"})
    assert decide(kernel(9), first, second, limit=2).message == (
        "Kernel quota reached: alice may have 2 kernels (the default), and these are there: "
        f"kernel-1 (gpu, work/digits.ipynb, idle 5 min), kernel-2 (gpu, busy). {WAY_OUT}"
    )


def test_the_refusal_for_one_for_none_and_for_fewer_than_there_are():
    one = decide(kernel(9), kernel(1, state="Pending"), limit=1).message
    assert "alice may have 1 kernel (the default), and this one is there: kernel-1 (gpu, s" in one
    none = decide(kernel(9), limit=0, when_full="wait").message
    assert none == (
        "Kernel quota reached: alice may have no kernels (the default). Ask it@example.org."
    )
    running = [kernel(n, state="Running") for n in range(3)]
    assert "may have 1 kernel (the default), and these 3 are there: " in (
        decide(kernel(9), *running, limit=1).message
    )


def test_the_refusal_of_a_gpu_names_those_that_have_one():
    others = [
        kernel(1, state="Running", activity=IDLE, asks={"gpu": "1"}),
        kernel(2, state="Running"),
    ]
    message = decide(kernel(9, asks={"gpu": "1"}), *others, limit=5, gpu=1).message
    assert message == (
        "GPU quota reached: alice may have 1 GPU (nvidia.com/gpu) (the default), this one asks for "
        f"1, and 1 of it is taken by: kernel-1 (gpu, idle 5 min). {WAY_OUT}"
    )


@pytest.mark.parametrize("when_full", ["refuse", "wait"])
def test_what_is_larger_than_the_limit_is_refused_at_once(when_full):
    decision = decide(kernel(9, asks={"memory": "64Gi"}), memory=32 * 2**30, when_full=when_full)
    assert decision.verdict == "refuse"
    assert decision.message == (
        "Memory quota reached: alice may have 32Gi of memory (the default), and this kernel alone "
        "asks for 64Gi. Choose a smaller kernel, or ask it@example.org."
    )


def test_long_lists_are_cut():
    others = [kernel(n, state="Running") for n in range(13)]
    assert decide(kernel(99), *others, limit=13).message.count("kernel-") == 10
    assert " and 3 more. " in decide(kernel(99), *others, limit=13).message


def test_an_annotation_by_somebody_who_means_no_good_does_no_harm():
    for text in ("{", "1", "[1]", '{"path": 1}', '[{"path": null}]'):
        other = kernel(1, state="Running")
        other["metadata"]["annotations"] = {"kubeflow.tkestack.io/sessions": text}
        assert "kernel-1 (gpu, running)" in decide(kernel(9), other, limit=1).message


RESOURCES = {
    # what is there, what is asked for, limits; the verdict when starts are refused, and wait
    "within all": (
        [{"gpu": "1", "cpu": "2"}],
        {"cpu": "2"},
        {"cpu": 4, "gpu": 1},
        "admit",
        "admit",
    ),
    "one too many": ([{"gpu": "1"}], {"gpu": "1"}, {"gpu": 1}, "refuse", "wait"),
    "none is asked for": ([{"gpu": "1"}], {"cpu": "9"}, {"gpu": 1}, "admit", "admit"),
    "without limit": ([{"gpu": "8"}], {"gpu": "8"}, {"gpu": None}, "admit", "admit"),
    "fractions": ([{"cpu": "1500m"}], {"cpu": "0.6"}, {"cpu": 2}, "refuse", "wait"),
    "units": ([{"memory": "1Gi"}], {"memory": "1024Mi"}, {"memory": 2**31}, "admit", "admit"),
    "over already": ([{"gpu": "2"}, {"gpu": "2"}], {"gpu": "1"}, {"gpu": 1}, "refuse", "wait"),
    "another make": ([{"amd.com/gpu": "4"}], {"gpu": "1"}, {"gpu": 1}, "admit", "admit"),
}


@pytest.mark.parametrize(
    ("there", "asked", "more", "refusing", "waiting"), RESOURCES.values(), ids=RESOURCES.keys()
)
def test_resources(there, asked, more, refusing, waiting):
    others = [kernel(n, state="Running", asks=asks) for n, asks in enumerate(there)]
    new = kernel(9, asks=asked)
    assert decide(new, *others, limit=9, **more).verdict == refusing
    assert decide(new, *others, limit=9, when_full="wait", **more).verdict == waiting


class TestWaiting:
    """Those that came earlier get theirs first; who needs none of it does not wait for them."""

    def test_it_says_for_which_limit_and_behind_whom(self):
        running = kernel(1, state="Running", activity=IDLE)
        decision = decide(kernel(9), running, kernel(3), limit=1, when_full="wait")
        assert (decision.verdict, decision.reason) == ("wait", "WaitingForQuota")
        assert decision.before == 1
        assert decision.message == (
            "Waiting for another of your kernels to end. alice may have 1 kernel (the default), "
            "and this one is there: kernel-1 (gpu, idle 5 min). It starts as soon as there is "
            "room; to make some, shut one down in JupyterLab (Running Terminals and Kernels). "
            "1 kernel of alice waits before it."
        )

    def test_in_order(self):
        line = [kernel(n) for n in range(5)]
        verdicts = [decide(one, *line, limit=2, when_full="wait").verdict for one in line]
        assert verdicts == ["admit", "admit", "wait", "wait", "wait"]
        assert decide(line[4], *line, limit=2, when_full="wait").before == 2

    def test_a_small_one_does_not_overtake_a_large_one_that_waits(self):
        running = kernel(1, state="Running", asks={"gpu": "1"})
        large, small = kernel(2, asks={"gpu": "2"}), kernel(3, asks={"gpu": "1"})
        everyone = [running, large, small]
        assert decide(large, *everyone, limit=9, gpu=2, when_full="wait").verdict == "wait"
        behind = decide(small, *everyone, limit=9, gpu=2, when_full="wait")
        assert (behind.verdict, behind.before) == ("wait", 1)
        # Where nothing waits, the large one is refused, and keeps nothing.
        assert decide(small, *everyone, limit=9, gpu=2).verdict == "admit"

    def test_one_that_needs_none_of_it_does_not_wait_behind(self):
        everyone = [
            kernel(1, state="Running", asks={"gpu": "1"}),
            kernel(2, asks={"gpu": "1"}),
            plain := kernel(3),
        ]
        assert decide(plain, *everyone, limit=2, gpu=1, when_full="wait").verdict == "admit"

    def test_what_it_will_need_besides_is_kept_for_it(self):
        everyone = [
            kernel(1, state="Running", asks={"gpu": "1"}),
            kernel(2, asks={"gpu": "1", "cpu": "8"}),
            greedy := kernel(3, asks={"cpu": "8"}),
        ]
        options = {"limit": 9, "gpu": 1, "cpu": 8, "when_full": "wait"}
        decision = decide(greedy, *everyone, **options)
        assert decision.verdict == "wait"
        assert "8 CPUs (the default), which are kept for kernels that wait" in decision.message

    def test_one_that_never_fits_holds_nobody_up(self):
        everyone = [kernel(1, asks={"gpu": "9"}), small := kernel(2, asks={"gpu": "1"})]
        assert decide(small, *everyone, limit=9, gpu=1, when_full="wait").verdict == "admit"


ROOM = {
    "deleted": (kernel(1, state="Running"), None, True),
    "being deleted": (kernel(1, state="Running"), kernel(1, state="Running", deleting=True), True),
    "over": (kernel(1, state="Running"), kernel(1, state="Failed"), True),
    "one that waited is gone": (kernel(1), None, True),
    "one that waited is refused": (kernel(1), kernel(1, state="Refused"), True),
    "new": (None, kernel(1), False),
    "admitted": (kernel(1), kernel(1, state="Pending"), False),
    "runs": (kernel(1, state="Pending"), kernel(1, state="Running"), False),
    "one that was over is gone": (kernel(1, state="Failed"), None, False),
}


@pytest.mark.parametrize(("old", "new", "makes"), ROOM.values(), ids=ROOM.keys())
def test_what_makes_room(old, new, makes):
    assert quota.makes_room(old, new) is makes


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h"), (-3, "0 s")]
)
def test_durations(seconds, text):
    since = (NOW - timedelta(seconds=seconds)).isoformat()
    idle = {"executionState": "idle", "idleSince": since}
    message = decide(kernel(9), kernel(1, state="Running", activity=idle), limit=1).message
    assert f"idle {text})" in message


AMOUNTS = st.fixed_dictionaries(
    {}, optional={"gpu": st.integers(0, 3).map(str), "cpu": st.integers(0, 3).map(str)}
)
ASKED = st.lists(AMOUNTS, min_size=7, max_size=7)
LIMITS = st.fixed_dictionaries(
    {"kernels": st.none() | st.integers(0, 4)},
    optional={name: st.none() | st.integers(0, 4) for name in ("gpu", "cpu")},
)


def taken(kernels, resource):
    return sum((quota.amounts(item).get(resource, 0) for item in kernels), Decimal(0))


def is_within(kernels, most):
    return all(
        limit.amount is None or taken(kernels, resource) <= limit.amount
        for resource, limit in most.items()
    )


class Cluster:
    """Seven kernels of one owner, of which some see their status late."""

    def __init__(self, asked, most, when_full):
        self.kernels = {n: kernel(n, asks=asks) for n, asks in enumerate(asked)}
        self.limits, self.rules = limits(**most), quota.Rules(when_full)
        self.assumed, self.admitted = set(), []

    def decide(self, number, *, late=False):
        item = self.kernels[number]
        if is_decided(item) or f"u{number}" in self.assumed:
            return
        decision = quota.decide(
            item,
            self.kernels.values(),
            limits=self.limits,
            rules=self.rules,
            assumed=self.assumed,
            now=NOW,
        )
        if decision.verdict == "wait":
            return
        if decision.admitted:
            self.admitted.append(number)
            self.assumed.add(f"u{number}")
        if not decision.admitted or not late:
            status = kernel_status.of_admission(
                item,
                admitted=decision.admitted,
                reason=decision.reason,
                message=decision.message,
                now=NOW,
            )
            item["status"] = {k: v for k, v in status.items() if v is not None}

    def end(self, number):
        self.kernels.pop(number, None)
        self.assumed.discard(f"u{number}")

    @property
    def held(self):
        return [k for n, k in self.kernels.items() if is_admitted(k) or f"u{n}" in self.assumed]


@given(
    asked=ASKED,
    most=LIMITS,
    order=st.permutations(range(7)),
    late=st.sets(st.integers(0, 6)),
)
def test_whatever_the_order_the_earlier_ones_get_theirs(asked, most, order, late):
    """Refusing: what is admitted is what one after the other, by age, would have been."""
    cluster = Cluster(asked, most, "refuse")
    for number in order:
        cluster.decide(number, late=number in late)
    expected = []
    for item in Cluster(asked, most, "refuse").kernels.values():
        if is_within([*expected, item], cluster.limits):
            expected.append(item)
    assert sorted(cluster.admitted) == [int(item["metadata"]["uid"][1:]) for item in expected]


STEPS = st.lists(
    st.tuples(st.sampled_from(["decide", "decide late", "seen", "end"]), st.integers(0, 6)),
    max_size=60,
)


@given(asked=ASKED, most=LIMITS, steps=STEPS, when_full=st.sampled_from(["refuse", "wait"]))
def test_the_limits_are_never_passed(asked, most, steps, when_full):
    cluster = Cluster(asked, most, when_full)
    for step, number in steps:
        if number not in cluster.kernels:
            continue
        if step == "end":
            cluster.end(number)
        elif step == "seen":
            if f"u{number}" in cluster.assumed:
                cluster.kernels[number]["status"] = {
                    "phase": "Running",
                    "incarnation": 0,
                    "conditions": [{"type": "Admitted", "status": "True"}],
                }
        else:
            cluster.decide(number, late=step == "decide late")
        assert is_within(cluster.held, cluster.limits)


@given(asked=ASKED, most=LIMITS, seed=st.randoms(use_true_random=False))
def test_all_that_wait_come_in_as_the_others_end(asked, most, seed):
    """Nothing waits for ever, and what could be admitted is not kept waiting."""
    cluster = Cluster(asked, most, "wait")
    for _ in range(20):
        numbers = list(cluster.kernels)
        seed.shuffle(numbers)
        for _ in range(2):  # the second time, all that has been decided is known
            for number in numbers:
                cluster.decide(number)
        if not cluster.held:
            break
        cluster.end(int(seed.choice(cluster.held)["metadata"]["uid"][1:]))
    left = [item for item in cluster.kernels.values() if not is_decided(item)]
    assert left == []
    alone = [n for n, asks in enumerate(asked) if is_within([kernel(n, asks=asks)], cluster.limits)]
    assert sorted(cluster.admitted) == alone
