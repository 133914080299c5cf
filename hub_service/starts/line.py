"""Who waits before whom: kernels that want the same scarce thing, by their age. Pure.

The scheduler has the last word: it may serve a later kernel first, where that one fits and an
earlier one doesn't.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hub_service import quantities
from hub_service.kinds import Object, is_deleting, name_of, uid_of
from hub_service.starts import room
from hub_service.starts.room import scarce

_HOME = "the node of its home"
# What is waited for: the resource, on nodes with these labels.
Wanted = tuple[str, frozenset[tuple[str, str]]]


def wanted(pod: Object) -> Wanted | None:
    """What a pod waits for, None where the scheduler has not said that there is too little."""
    for resource in scarce(pod)[:1]:
        selector: Mapping[str, str] = (pod.get("spec") or {}).get("nodeSelector") or {}
        where = {**selector, _HOME: room.home_node(pod) or ""}
        return resource, frozenset(where.items())
    return None


def unscheduled(pod: Object) -> str | None:
    """Index of pods that have no node yet, all under one value."""
    waits = not (pod.get("spec") or {}).get("nodeName") and not is_deleting(pod)
    return "" if waits else None


class Line:
    """Pods that have no node, at one moment.

    Those that the scheduler hasn't looked at yet count where they ask for the same resource.
    """

    def __init__(self, pods: Iterable[Object] = ()) -> None:
        self._before: dict[str, int] = {}
        self._lengths: dict[Wanted, int] = {}
        for pod in sorted(pods, key=_age):
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
    resource = scarce(pod)[0]
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
    return f"Waiting for {what}: not free at present. {queue}"


def _age(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), name_of(pod)
