"""Whether any node could ever take a pod, however empty. Pure.

Only what a scheduler can't get around is compared: what the nodes have for pods, the pod's
nodeSelector, and where its user's home is, if that is on one node. Taints, affinities and the like
are left to the scheduler's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from hub_service import quantities
from hub_service.kinds import (
    ANNOTATION_HOME_CLAIM,
    ANNOTATION_HOME_NODE,
    Object,
    Reason,
    annotations_of,
    condition,
    name_of,
    spec_of,
    status_of,
)
from hub_service.starts.faults import Fault

_INSUFFICIENT = re.compile(r"(?:(\d+) )?Insufficient ([\w./-]+?)(?=[.,;]?(?:\s|$))")

# The scheduler has not looked at the pod; the API server says so.
_BEHIND_A_GATE = "SchedulingGated"

# What a node has of a resource whose device plugin is away: nobody knows.
_UNKNOWN = Decimal("Infinity")


class Node(NamedTuple):
    """What matters of a node: its labels, its name, and what it has for pods at best.

    allocatable: what it has for pods now; is_open: ready, and not closed to new pods.
    """

    labels: dict[str, str]
    amounts: dict[str, Decimal]
    name: str = ""
    allocatable: Mapping[str, Decimal] = MappingProxyType({})
    taints: tuple[Object, ...] = ()
    is_open: bool = True


def node(item: Object) -> Node:
    """What matters of a Node of the cluster.

    Devices that are broken at the moment may be mended. A node says that it has none while its
    device plugin is away, as after every restart of the kubelet; one that never had any doesn't
    name them at all.
    """
    status, spec = status_of(item), spec_of(item)
    amounts = _amounts(status, "allocatable")
    capacity = _amounts(status, "capacity")
    for name in filter(_is_device, amounts):
        amounts[name] = max(amounts[name], capacity.get(name, Decimal(0))) or _UNKNOWN
    ready = condition(item, "Ready") or {}
    return Node(
        labels=dict(item["metadata"].get("labels") or {}),
        amounts=amounts,
        name=name_of(item),
        allocatable=_amounts(status, "allocatable"),
        taints=tuple(spec.get("taints") or ()),
        is_open=not spec.get("unschedulable") and ready.get("status", "True") == "True",
    )


def _amounts(status: Object, field: str) -> dict[str, Decimal]:
    return {name: quantities.parse(amount) for name, amount in (status.get(field) or {}).items()}


def _is_device(name: str) -> bool:
    return "/" in name


def scheduler_words(pod: Object) -> str:
    """Why the scheduler has found no node, without its thoughts on preemption; "" before it did."""
    said = condition(pod, "PodScheduled") or {}
    if said.get("status") != "False" or said.get("reason") == _BEHIND_A_GATE:
        return ""
    return re.split(r" (?:no new claims|preemption:)", said.get("message") or "")[0].strip()


def scarce(pod: Object) -> list[str]:
    """Resources that the scheduler found too little of, those of special hardware first."""
    return sorted(lacking(pod), key=lambda name: (not _is_device(name), name in ("cpu", "memory")))


def lacking(pod: Object) -> dict[str, int]:
    """On how many nodes the scheduler found too little of each resource."""
    found = _INSUFFICIENT.findall(scheduler_words(pod))
    return {name: int(number or 1) for number, name in found}


def never_fits(pod: Object, nodes: Sequence[Node], *, may_grow: bool = False) -> Fault | None:
    """Why no node could take the pod even if it were empty; None where one could.

    Without nodes nothing can be said. `may_grow`: others may be added, though none that the user's
    files are on.
    """
    selector: dict[str, str] = (pod.get("spec") or {}).get("nodeSelector") or {}
    eligible = [one for one in nodes if selector.items() <= one.labels.items()]
    if not nodes:
        return None
    if not may_grow and (fault := _never_anywhere(pod, selector, eligible)):
        return fault
    if node := home_node(pod):
        return _never_beside_its_home(pod, node, [one for one in eligible if one.name == node])
    return None


def _never_anywhere(
    pod: Object, selector: dict[str, str], eligible: Sequence[Node]
) -> Fault | None:
    if not eligible:
        labels = ", ".join(f"{key}={value}" for key, value in selector.items())
        return Fault(
            Reason.NO_MATCHING_NODE,
            f"The cluster has no node that this kernel may run on: it wants one with {labels}. "
            "Ask your administrator.",
        )
    wanted = quantities.requests(pod)
    if any(_takes(one, wanted) for one in eligible):
        return None
    for name, amount in sorted(wanted.items(), key=lambda entry: not _is_device(entry[0])):
        most = max(one.amounts.get(name, Decimal(0)) for one in eligible)
        if most < amount:
            has = quantities.words(name, most) if most else "none at all"
            return _too_large(quantities.words(name, amount), f"the most that one has is {has}")
    together = ", ".join(quantities.words(name, amount) for name, amount in sorted(wanted.items()))
    return _too_large(together, "none has all of it together")


def home_node(pod: Object) -> str | None:
    """The one node where the pod's volumes can be used, if there is only one."""
    return annotations_of(pod).get(ANNOTATION_HOME_NODE)


def _never_beside_its_home(pod: Object, node: str, eligible: Sequence[Node]) -> Fault | None:
    if not eligible:
        return _home_elsewhere(pod, node, "it may not run there, or the node is gone")
    wanted = quantities.requests(pod)
    for name, amount in sorted(wanted.items(), key=lambda entry: "/" not in entry[0]):
        has = eligible[0].amounts.get(name, Decimal(0))
        if has < amount:
            words = quantities.words(name, has) if has else "none"
            asked = quantities.words(name, amount)
            return _home_elsewhere(pod, node, f"it asks for {asked}, and that node has {words}")
    return None


def _home_elsewhere(pod: Object, node: str, why: str) -> Fault:
    claim = annotations_of(pod).get(ANNOTATION_HOME_CLAIM, "?")
    return Fault(
        Reason.HOME_ELSEWHERE,
        f"Your files are on a volume ({claim}) that one node only can use at a time. It is in use "
        f"on {node}, where this kernel can't run: {why}. Start it from a notebook server whose "
        "node has what the kernel asks for, or choose another kernel. An administrator can move "
        "homes to a storage class with ReadWriteMany, or let such kernels start without them "
        "(homes.elsewhere: without in the settings, home: false in the kernel spec).",
    )


def _too_large(wanted: str, nodes: str) -> Fault:
    return Fault(
        Reason.LARGER_THAN_ANY_NODE,
        f"The kernel asks for {wanted}, more than any node can give: {nodes}. Choose a smaller "
        "kernel, or ask your administrator.",
    )


def _takes(one: Node, wanted: dict[str, Decimal]) -> bool:
    return all(one.amounts.get(name, Decimal(0)) >= amount for name, amount in wanted.items())
