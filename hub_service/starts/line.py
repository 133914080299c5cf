"""Who waits before whom: kernels that want the same scarce thing. Pure.

Those that the scheduler sees are ahead, by their age; then come those that wait behind our gate, in
the fair order (`hub_service/sharing`). The scheduler has the last word: it may serve a later kernel
first, where that one fits and an earlier one doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub_service import quantities
from hub_service.kinds import Object, is_deleting, name_of, namespace_of, uid_of
from hub_service.sharing import pods as sharing
from hub_service.sharing.line import fair_order
from hub_service.sharing.suitable import Suitable
from hub_service.starts import room
from hub_service.warm.pods import is_waiting

# What is waited for: the resource, on nodes with these labels.
Wanted = tuple[str, frozenset[tuple[str, str]]]


def wanted(pod: Object) -> Wanted | None:
    """What a pod waits for, None where the scheduler has not said that there is too little."""
    resource = scarce_of(pod)
    return (resource, sharing.where(pod)) if resource else None


def scarce_of(pod: Object) -> str | None:
    """The resource that a pod waits for; a GPU where that is among what it waits for."""
    if sharing.is_gated(pod):
        return sharing.wanted_gpu(pod)
    scarce = room.scarce(pod)
    return min(scarce, key=lambda name: not quantities.is_gpu(name), default=None)


def unscheduled(pod: Object) -> str | None:
    """Index of kernels' pods that have no node yet, all under one value.

    Warm ones stand in no line: they make way.
    """
    waits = not (pod.get("spec") or {}).get("nodeName") and not is_deleting(pod)
    return "" if waits and not is_waiting(pod) else None


class Line:
    """Pods that have no node, at one moment; `held`: GPUs that owners have, by their labels."""

    def __init__(self, pods: Sequence[Object] = (), held: Mapping[str, int] | None = None) -> None:
        self._before: dict[str, int] = {}
        self._lengths: dict[Wanted, int] = {}
        seen = [pod for pod in pods if not sharing.is_gated(pod)]
        for pod in sorted(seen, key=_age):
            self._join(pod)
        for pod in _gated(pods, held or {}):
            self._join(pod)

    def before(self, pod: Object) -> int | None:
        """How many wait before a pod, None where it is in no line. One that comes anew is last."""
        if uid_of(pod) not in self._before:
            self._join(pod)
        return self._before.get(uid_of(pod))

    def _join(self, pod: Object) -> None:
        mine = wanted(pod)
        if mine is not None:
            self._before[uid_of(pod)] = self._lengths.get(mine, 0)
            self._lengths[mine] = self._lengths.get(mine, 0) + 1


def describe(pod: Object, before: int) -> str:
    """What a pod waits for and behind how many, in a sentence or two."""
    resource = scarce_of(pod) or "a node"
    amount = quantities.requests(pod).get(resource)
    what = quantities.words(resource, amount) if amount else resource
    if resource == "pods":
        what = "a place on a node"
    if node := room.home_node(pod):
        what += f" on {node}, where your files are in use"
    queue = (
        "This kernel is the first in line." if before == 0
        else "1 kernel waits before this one." if before == 1
        else f"{before} kernels wait before this one."
    )  # fmt: skip
    fair = " Those who hold fewer GPUs come first." if before and sharing.is_gated(pod) else ""
    return f"Waiting for {what}: not free at present. {queue}{fair}"


def _gated(pods: Sequence[Object], held: Mapping[str, int]) -> list[Object]:
    """Those behind our gate, in their order."""
    suitable = Suitable(())
    by_key = {(namespace_of(pod), name_of(pod)): pod for pod in pods}
    everyone = [
        sharing.waiting(pod, sharing.asked(pod), suitable)
        for pod in by_key.values()
        if sharing.asks_for_gpus(pod) is not None
    ]
    order = fair_order(everyone, held)
    return [by_key[one.key] for one in order if not one.released]


def _age(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), name_of(pod)
