"""What NetworkPolicies let through, worked out from their text. Pure.

For clusters whose network doesn't enforce them, so that the values are checked there too. Covers
what the chart's and this project's policies use: pod and namespace selectors by label, address
blocks, ports by number, range or name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub_service.kinds import LABEL_OWNER

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """One end of a connection: a pod, or (without a namespace) an address elsewhere."""

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)  # named ports of the pod
    owner: str = ""  # whose namespace it is, where users have one each

    @property
    def namespace_labels(self) -> dict[str, str]:
        """The label that every namespace has, and the one of users'."""
        labels = {"kubernetes.io/metadata.name": self.namespace}
        return labels | ({LABEL_OWNER: self.owner} if self.owner else {})


def lets_through(
    policies: Sequence[Policy], source: Place, target: Place, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a connection is open at both ends."""
    number = _Port(port, protocol, target.ports)
    leaving = [policy for policy in policies if _applies(policy, source, "Egress")]
    entering = [policy for policy in policies if _applies(policy, target, "Ingress")]
    return _open(leaving, "egress", "to", target, number) and _open(
        entering, "ingress", "from", source, number
    )


@dataclass(frozen=True)
class _Port:
    number: int
    protocol: str
    names: Mapping[str, int]

    def is_of(self, entries: list[Any] | None) -> bool:
        """Whether a rule's list of ports has this one; a rule without a list has all."""
        return not entries or any(self._is(entry) for entry in entries)

    def _is(self, entry: Mapping[str, Any]) -> bool:
        named = entry.get("port")
        first = self.names.get(named, -1) if isinstance(named, str) else named
        same = entry.get("protocol", "TCP") == self.protocol
        return same and (first is None or first <= self.number <= entry.get("endPort", first))


def _open(policies: list[Policy], rules: str, peers: str, other: Place, port: _Port) -> bool:
    """Whether one end is open. A pod that no policy selects is."""
    return not policies or any(
        port.is_of(rule.get("ports"))
        and _is_peer(rule.get(peers), other, policy["metadata"]["namespace"])
        for policy in policies
        for rule in policy["spec"].get(rules) or []
    )


def _applies(policy: Policy, subject: Place, direction: str) -> bool:
    return (
        policy["metadata"]["namespace"] == subject.namespace
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], subject.labels)
    )


def _is_peer(peers: list[Any] | None, peer: Place, home: str) -> bool:
    if not peers:
        return True
    return any(_matches(entry, peer, home) for entry in peers)


def _matches(entry: Mapping[str, Any], peer: Place, home: str) -> bool:
    if block := entry.get("ipBlock"):
        address = ipaddress.ip_address(peer.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(
            address in ipaddress.ip_network(hole) for hole in block.get("except") or []
        )
    if not peer.namespace:
        return False
    if "namespaceSelector" in entry:
        if not _selects(entry["namespaceSelector"], peer.namespace_labels):
            return False
    elif peer.namespace != home:
        return False
    return _selects(entry.get("podSelector") or {}, peer.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        present = labels.get(expression["key"])
        if expression["operator"] == "In":
            fits = present in expression["values"]
        elif expression["operator"] == "Exists":
            fits = present is not None
        else:
            raise NotImplementedError(f"operator {expression['operator']}")
        if not fits:
            return False
    return True
