"""The hub's groups as they were at one moment: who is in which, and what is written on each. Pure.

Quotas and the visibility of kernel specs rest on them. The hub is asked by `known_groups`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Group(NamedTuple):
    """A group: the names of its users, and its properties as the hub's admin page edits them."""

    name: str
    members: frozenset[str]
    properties: Mapping[str, Any]


class Groups:
    """All groups of the hub."""

    def __init__(self, groups: Iterable[Group] = ()) -> None:
        self._all = tuple(sorted(groups, key=lambda group: group.name))
        self._of: dict[str, list[Group]] = {}
        for group in self._all:
            for member in group.members:
                self._of.setdefault(member, []).append(group)

    @property
    def all(self) -> tuple[Group, ...]:
        """Each group, by name."""
        return self._all

    def of(self, user: str) -> tuple[Group, ...]:
        """The groups that a user is in, by name; none for somebody whom the hub doesn't know."""
        return tuple(self._of.get(user, ()))

    def names_of(self, user: str) -> frozenset[str]:
        """The names of the groups that a user is in."""
        return frozenset(group.name for group in self.of(user))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Groups) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]


def group(model: Mapping[str, Any]) -> Group:
    """A group from the hub's model of it. ValueError where it is none."""
    name, users = model.get("name"), model.get("users")
    properties = model.get("properties") or {}
    if not isinstance(name, str) or not isinstance(users, list) or not isinstance(properties, dict):
        raise ValueError("no name, users or properties, as for a token without scope read:groups")
    return Group(name, frozenset(str(user) for user in users), properties)
