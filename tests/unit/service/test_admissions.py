"""Admission on copies of the cluster: remembered until it shows, however many come at once."""

import asyncio
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace

import pytest

from hub_service.hub.groups import Group
from hub_service.hub.known_groups import KnownGroups
from hub_service.kernels import kernel
from hub_service.kinds import PODS, Object, condition, spec_of
from hub_service.kube import Key, key_of
from hub_service.kube.store import Store
from hub_service.quotas.limits import Policy
from hub_service.quotas.quota import Rules
from hub_service.reconcile.admissions import BY_OWNER, Admissions, owner_of
from hub_service.reconcile.kernel_pods import BY_KERNEL, kernel_of
from hub_service.reconcile.visibility import Visibility
from hub_service.starts.judge import Times

TIMES = Times(admission=60, scheduling=3600, image=0, container=0)


def a_kernel(number: int, owner: str | None = "ada", namespace: str = "users") -> Object:
    return {
        "metadata": {
            "name": f"kernel-{number:03}",
            "namespace": namespace,
            "uid": f"u{number:03}",
            "resourceVersion": "1",
            "creationTimestamp": f"2030-01-01T00:00:{number % 60:02}Z",
        },
        "spec": {} if owner is None else {"owner": owner},
    }


class Desk:
    """Admissions, and the copies that they are decided on."""

    def __init__(self, *kernels: Object, when_full: str = "refuse", groups=None) -> None:
        self.kernels, self.pods = Store({BY_OWNER: owner_of}), Store({BY_KERNEL: kernel_of})
        self.kernels.replace(kernels, "1")
        self.hub: list[Group] | None = groups if groups is not None else []
        self.specs = Store()
        self.admissions = Admissions(
            kernels=SimpleNamespace(store=self.kernels),
            pods=SimpleNamespace(store=self.pods),
            groups=KnownGroups(self._fetch),
            policy=Policy({"kernels": Decimal(2)}, {}),
            rules=Rules(when_full),
            times=TIMES,
            covers=lambda namespace: namespace != "elsewhere",
            visibility=Visibility(SimpleNamespace(store=self.specs), lambda _: "shared"),
        )

    async def _fetch(self) -> list[Group] | None:
        await asyncio.sleep(0)
        return self.hub

    async def decide(self, item: Object, *, shows: bool = True):
        decided = await self.admissions.decide(item)
        if shows:
            self.show(item, decided.status)
        return decided

    def show(self, item: Object, status: Object) -> None:
        """The status as the watch brings it."""
        version = str(int(item["metadata"]["resourceVersion"]) + 1)
        metadata = {**item["metadata"], "resourceVersion": version}
        shown = {key: value for key, value in status.items() if value is not None}
        self.kernels.put({**item, "metadata": metadata, "status": shown})


async def test_two_hundred_at_once_are_admitted_to_the_limit_though_nothing_shows_yet():
    kernels = [a_kernel(n, f"user-{n % 8}") for n in range(200)]
    desk = Desk(*kernels)
    decided = await asyncio.gather(*(desk.decide(item, shows=False) for item in kernels))
    admitted = Counter(
        spec_of(item)["owner"] for item, one in zip(kernels, decided, strict=True) if one.admitted
    )
    assert admitted == {f"user-{n}": 2 for n in range(8)}
    # Asked again before its status shows it, the answer is the same.
    first = await desk.decide(kernels[0], shows=False)
    assert first == decided[0]
    assert desk.admissions.of(kernels[0]) is not None
    desk.admissions.forget(key_of(kernels[0]))
    assert desk.admissions.of(kernels[0]) is None


async def test_one_that_has_a_pod_holds_its_place_whoever_made_it():
    earlier, later = a_kernel(1), a_kernel(2)
    desk = Desk(earlier, later, a_kernel(3))
    pod = kernel.desired_pod(later)
    pod["metadata"] |= {"uid": "p", "resourceVersion": "1"}
    assert pod["kind"] == PODS.kind
    desk.pods.put(pod)
    assert (await desk.decide(later)).admitted
    assert (await desk.decide(earlier)).admitted
    refused = await desk.decide(a_kernel(3))
    assert not refused.admitted
    assert refused.again is None


async def test_groups_of_the_hub_count():
    group = Group("many", frozenset({"ada"}), {"elastic.kernels": "3"})
    kernels = [a_kernel(n) for n in range(4)]
    desk = Desk(*kernels, groups=[group])
    assert [(await desk.decide(item)).admitted for item in kernels] == [True] * 3 + [False]


async def test_before_groups_are_known_it_waits_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hub_service.hub.known_groups._ASK_AGAIN_AFTER_FAILURE", 0.0)
    item, nobodys = a_kernel(1), a_kernel(2, None)
    desk = Desk(item, nobodys)
    desk.hub = None
    first = await desk.decide(item)
    assert (first.admitted, first.again) == (False, 1.0)
    assert condition({"status": first.status}, "Running")["reason"] == "GroupsUnknown"
    assert first.status["phase"] == "Pending"
    assert (await desk.decide(nobodys)).admitted
    desk.hub = []
    assert (await desk.decide(item)).admitted


async def test_one_that_waits_is_looked_at_when_another_ends():
    kernels = [a_kernel(n) for n in range(4)] + [a_kernel(9, "bob")]
    elsewhere = a_kernel(5, namespace="elsewhere")
    desk = Desk(*kernels, elsewhere, when_full="wait")
    for item in kernels:
        await desk.decide(item)
    waiting = desk.kernels.get(key_of(kernels[3]))
    assert not kernel.is_decided(waiting)
    assert waiting["status"]["start"]["waitingBehind"] == 1
    held = desk.kernels.get(key_of(kernels[0]))
    assert desk.admissions.kernels_that_wait(key_of(held), held, held) == []
    desk.kernels.remove(held)
    assert desk.admissions.kernels_that_wait(key_of(held), held, None) == [
        Key("users", "kernel-002"),
        Key("users", "kernel-003"),
    ]
    assert (await desk.decide(desk.kernels.get(key_of(kernels[2])))).admitted
    again = await desk.decide(waiting)
    assert not again.admitted
    assert again.again is not None


async def test_a_wait_that_takes_too_long_ends_as_a_refusal(monkeypatch: pytest.MonkeyPatch):
    kernels = [a_kernel(n) for n in range(3)]
    desk = Desk(*kernels, when_full="wait")
    for item in kernels[:2]:
        await desk.decide(item)
    kernels[2]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    late = await desk.decide(kernels[2])
    assert late.status["phase"] == "Refused"
    entry = condition({"status": late.status}, "Admitted")
    assert (entry["status"], entry["reason"]) == ("False", "SchedulingTimeout")
    assert "Waiting for room in the quota took longer than the 3600 s" in entry["message"]


async def test_a_restart_keeps_the_place_and_one_after_the_end_waits_anew():
    kernels = [a_kernel(n) for n in range(3)]
    desk = Desk(*kernels, when_full="wait")
    for item in kernels[:2]:
        await desk.decide(item)
    held = desk.kernels.get(key_of(kernels[0]))
    restarted = {**held, "spec": {**held["spec"], "incarnation": 1}}
    desk.admissions.forget(key_of(held))
    assert (await desk.decide(restarted)).admitted
    ended = desk.kernels.get(key_of(kernels[1]))
    ended = {
        **ended,
        "metadata": {**ended["metadata"], "resourceVersion": "3"},
        "status": {**ended["status"], "phase": "Failed"},
    }
    desk.admissions.forget(key_of(ended))
    desk.kernels.put(ended)
    assert (await desk.decide(kernels[2])).admitted
    again = {**ended, "spec": {**ended["spec"], "incarnation": 1}}
    decided = await desk.decide(again)
    assert not decided.admitted
    shown = desk.kernels.get(key_of(again))
    # Nothing is left by which it would count as admitted, or as decided.
    assert not kernel.is_admitted(shown)
    assert not kernel.is_decided(shown)


async def test_a_kernel_of_a_spec_for_others_is_refused_however_it_was_made():
    course = Group("course", frozenset({"ada"}), {})
    limits = {"groups": ["course"], "users": ["teacher"]}
    spec = {
        "metadata": {"name": "gpu", "namespace": "shared", "resourceVersion": "1"},
        "spec": {"visibility": limits},
    }
    owners = ("ada", "teacher", "mallory", None)
    kernels = [a_kernel(number, owner) for number, owner in enumerate(owners)]
    for item in kernels:
        item["spec"]["kernelSpecName"] = "gpu"
    desk = Desk(*kernels, groups=[course])
    desk.specs.replace([spec], "1")

    decided = [await desk.decide(item) for item in kernels]

    assert [one.admitted for one in decided] == [True, True, False, False]
    said = condition({"status": decided[2].status}, "Admitted")
    assert said["reason"] == "KernelSpecNotOffered"
    assert "'gpu' is not offered to mallory" in said["message"]
    # Of another spec she may have as many as everybody.
    other = a_kernel(9, "mallory")
    desk.kernels.put(other)
    assert (await desk.decide(other)).admitted
