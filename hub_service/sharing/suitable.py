"""Which nodes a pod may run on, by what its template says of nodes. Pure.

As the scheduler sees it, but for what depends on other pods (affinities among pods, spread) and on
volumes that are not yet anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from hub_service.kinds import Object
from hub_service.sharing.room import Amounts
from hub_service.starts import room
from hub_service.starts.room import Node

_ZONE = "topology.kubernetes.io/zone"
_BARRING = ("NoSchedule", "NoExecute")
_OPERATORS: dict[str, Callable[[str | None, Sequence[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: _number(value) > _number(values[0]),
    "Lt": lambda value, values: _number(value) < _number(values[0]),
}


class Suitable:
    """The nodes that each pod may run on and is not too large for, worked out once for many alike.

    nodes: of the cluster; none where they aren't known, and then nothing is known of any pod.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._zones = {node.name: node.labels.get(_ZONE, "") for node in nodes}
        self._known: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def of(self, pod: Object, amounts: Amounts) -> frozenset[str] | None:
        """Names of nodes that would take a pod that asks for these amounts, were they empty."""
        return self._of(pod, amounts)[0] if self._nodes else None

    def and_too_small(self, pod: Object, amounts: Amounts) -> frozenset[str]:
        """Names of these, and of those that it may run on and is too large for."""
        return self._of(pod, amounts)[1]

    def _of(self, pod: Object, amounts: Amounts) -> tuple[frozenset[str], frozenset[str]]:
        spec: Object = pod.get("spec") or {}
        fields = ("nodeName", "nodeSelector", "affinity", "tolerations")
        wishes = [[spec.get(name) for name in fields], room.home_node(pod), amounts]
        key = json.dumps(wishes, sort_keys=True, default=str)
        if key not in self._known:
            suiting = [node for node in self._nodes if suits(pod, node)]
            self._known[key] = (
                frozenset(node.name for node in suiting if _has(node, amounts)),
                frozenset(node.name for node in suiting),
            )
        return self._known[key]

    def may_be_elsewhere(self, pod: Object, nodes: frozenset[str]) -> bool:
        """Whether a pod's volumes may be in a zone that not all of these nodes are in."""
        volumes: list[Object] = (pod.get("spec") or {}).get("volumes") or []
        if not any("persistentVolumeClaim" in volume for volume in volumes):
            return False
        return len({self._zones[node] for node in nodes}) > 1


def _has(node: Node, amounts: Amounts) -> bool:
    return all(node.amounts.get(name, 0) >= amount for name, amount in amounts.items())


def suits(pod: Object, node: Node) -> bool:
    """Whether a node takes such pods, however much of it is free."""
    spec: Object = pod.get("spec") or {}
    home = room.home_node(pod)
    selector: dict[str, str] = spec.get("nodeSelector") or {}
    return (
        node.is_open
        and home in (None, node.name)
        and selector.items() <= node.labels.items()
        and _by_affinity(spec, node)
        and all(_tolerates(spec, taint) for taint in node.taints)
    )


def _by_affinity(spec: Object, node: Node) -> bool:
    wanted = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not wanted:
        return True
    return any(_matches(term, node) for term in wanted.get("nodeSelectorTerms") or [])


def _matches(term: Object, node: Node) -> bool:
    """Whether a node meets all that one term says; one that says nothing matches none."""
    by_label = term.get("matchExpressions") or []
    by_name = term.get("matchFields") or []
    return bool(by_label or by_name) and all(
        _holds(one, node.labels.get(one["key"])) for one in by_label
    ) and all(_holds(one, node.name) for one in by_name)  # fmt: skip


def _holds(expression: Object, value: str | None) -> bool:
    operator = _OPERATORS.get(expression.get("operator", ""))
    try:
        return operator is not None and operator(value, expression.get("values") or [])
    except (ValueError, IndexError):
        return False


def _number(value: str | None) -> int:
    if value is None:
        raise ValueError("no such label")
    return int(value)


def _tolerates(spec: Object, taint: Object) -> bool:
    if taint.get("effect") not in _BARRING:
        return True
    return any(_covers(one, taint) for one in spec.get("tolerations") or [])


def _covers(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same = toleration.get("key") == taint["key"]
    return same and (toleration.get("value") or "") == (taint.get("value") or "")
