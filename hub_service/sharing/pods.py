"""What sharing GPUs goes by, read from the pods of kernels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from hub_service import quantities, timestamps
from hub_service.kinds import (
    LABEL_OWNER,
    SCHEDULING_GATE,
    Object,
    Phase,
    is_deleting,
    name_of,
    namespace_of,
    status_of,
)
from hub_service.pods import podtemplate
from hub_service.sharing.line import Waiting
from hub_service.sharing.room import Amounts, Room
from hub_service.sharing.suitable import Suitable
from hub_service.starts import room as starts_room
from hub_service.starts.room import Node
from hub_service.warm.pods import is_waiting as is_warm

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def asks_for_gpus(pod: Object) -> str | None:
    """Index of pods that ask for GPUs, all under one value."""
    return "" if podtemplate.gpus(pod) else None


def gates(pod: Object) -> list[str]:
    """Names of the gates that keep the scheduler from a pod, ours and others'."""
    return [gate["name"] for gate in (pod.get("spec") or {}).get("schedulingGates") or []]


def is_gated(pod: Object) -> bool:
    """Whether a pod waits in our line where the scheduler doesn't see it."""
    return SCHEDULING_GATE in gates(pod)


def gated(pod: Object) -> Object:
    """A pod that is to be created, behind our gate."""
    spec: Object = pod.get("spec") or {}
    present = spec.get("schedulingGates") or []
    return {**pod, "spec": {**spec, "schedulingGates": [*present, {"name": SCHEDULING_GATE}]}}


def without_gate(pod: Object) -> Object:
    """The patch that takes our gate away, and leaves others'."""
    others = [{"name": name} for name in gates(pod) if name != SCHEDULING_GATE]
    # What was changed meanwhile is not undone: the patch is of this version of the pod.
    version = pod["metadata"].get("resourceVersion")
    return {"metadata": {"resourceVersion": version}, "spec": {"schedulingGates": others}}


def wanted_gpu(pod: Object) -> str | None:
    """The GPU resource that a pod asks for, the first by name where there are several."""
    return min((name for name in quantities.requests(pod) if quantities.is_gpu(name)), default=None)


def where(pod: Object) -> frozenset[tuple[str, str]]:
    """On which nodes a pod wants it, for the line that it stands in."""
    selector: Mapping[str, str] = (pod.get("spec") or {}).get("nodeSelector") or {}
    return frozenset({**selector, _HOME: starts_room.home_node(pod) or ""}.items())


_HOME = "the node of its home"


class Asked(NamedTuple):
    """What a pod asks for, which stays as it is."""

    gpus: int
    amounts: Amounts
    line: tuple[str | None, frozenset[tuple[str, str]]]


def asked(pod: Object) -> Asked:
    """What a pod asks for."""
    return Asked(podtemplate.gpus(pod), quantities.requests(pod), (wanted_gpu(pod), where(pod)))


def owner_of(pod: Object) -> str:
    """Whose it is, by its label; that of nobody's is empty."""
    return str((pod["metadata"].get("labels") or {}).get(LABEL_OWNER, ""))


def waits(pod: Object) -> bool:
    """Whether a pod has no node, and our line or the scheduler decides when it gets one.

    One that others keep behind a gate of theirs is no business of ours.
    """
    has_node = bool((pod.get("spec") or {}).get("nodeName"))
    others = any(name != SCHEDULING_GATE for name in gates(pod))
    return not (has_node or others or is_deleting(pod) or _is_over(pod))


def waiting(pod: Object, what: Asked, suitable: Suitable) -> Waiting:
    """A pod as one that waits."""
    nodes = suitable.of(pod, what.amounts)
    lacking = starts_room.lacking(pod)
    refused_on = _without_gpus(lacking)
    return Waiting(
        key=(namespace_of(pod), name_of(pod)),
        owner=owner_of(pod),
        since=timestamps.parse(pod["metadata"].get("creationTimestamp")) or _LONG_AGO,
        gpus=what.gpus,
        amounts=what.amounts,
        line=what.line,
        nodes=nodes,
        released=not is_gated(pod),
        refused=refused_on > 0,
        certain=nodes is None or _is_certain(pod, what.amounts, nodes, suitable, refused_on),
        short=frozenset(name for name in lacking if not quantities.is_gpu(name)),
        promised=bool(status_of(pod).get("nominatedNodeName")),
        spare=is_warm(pod),
    )


def refused(pod: Object) -> int:
    """On how many nodes the scheduler has found too few GPUs for a pod."""
    return _without_gpus(starts_room.lacking(pod))


def _without_gpus(lacking: Mapping[str, int]) -> int:
    return max((lacking[name] for name in lacking if quantities.is_gpu(name)), default=0)


def _is_certain(
    pod: Object, amounts: Amounts, nodes: frozenset[str], suitable: Suitable, refused_on: int
) -> bool:
    """Whether it is GPUs that keep a pod from all these nodes, as far as anybody says.

    refused_on: how many the scheduler has found too few GPUs on.
    """
    if suitable.may_be_elsewhere(pod, nodes):
        return False
    # The scheduler counts nodes without GPUs with the others, and doesn't say which it means.
    return not refused_on or refused_on >= len(suitable.and_too_small(pod, amounts))


def standing(pod: Object | None) -> tuple[object, ...]:
    """How far a pod has come, as far as others in the line depend on it."""
    if pod is None:
        return ()
    promised = status_of(pod).get("nominatedNodeName")
    return holds(pod), waits(pod), is_gated(pod), is_deleting(pod), refused(pod), promised


def held_by_owner(pods: Iterable[Object]) -> dict[str, int]:
    """GPUs that each owner's pods have, by the owner's label."""
    held: dict[str, int] = {}
    for pod in pods:
        if holds(pod):
            held[owner_of(pod)] = held.get(owner_of(pod), 0) + podtemplate.gpus(pod)
    return held


def holds(pod: Object) -> bool:
    """Whether a pod has a node and what it asked for, and keeps it when others wait.

    Warm pods that nobody has claimed give GPUs back then.
    """
    return _has_node(pod) and not makes_way(pod)


def makes_way(pod: Object) -> bool:
    """Whether a pod has GPUs which it gives back as soon as the scheduler has none for others."""
    return _has_node(pod) and is_warm(pod) and podtemplate.gpus(pod) > 0


def _has_node(pod: Object) -> bool:
    return bool((pod.get("spec") or {}).get("nodeName")) and not _is_over(pod)


def free(nodes: Sequence[Node], pods: Iterable[tuple[Object, Amounts]]) -> Room:
    """What nodes have free beside these pods."""
    amounts: dict[str, dict[str, Decimal]] = {node.name: dict(node.allocatable) for node in nodes}
    for pod, taken in pods:
        on = amounts.get((pod.get("spec") or {}).get("nodeName") or "")
        if on is not None and holds(pod):
            for name, amount in taken.items():
                on[name] = on.get(name, Decimal(0)) - amount
    return Room(amounts)


def _is_over(pod: Object) -> bool:
    return status_of(pod).get("phase") in (Phase.SUCCEEDED, Phase.FAILED)
