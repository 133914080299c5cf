"""What each user may hold at a time, and who set it. Pure.

For each resource the user's own limit counts, or else the most generous one of their groups, or
else the one for everybody. A resource with no limit at all is limited by the cluster only.

Limits of groups stand in the properties of the hub's groups, which its admin page edits: rows
of texts for key and value, such as `elastic.kernels` and `4`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from hub_service import quantities
from hub_service.hub.groups import Group

# Counts kernels themselves; all others are names of Kubernetes resources.
KERNELS = "kernels"
UNLIMITED = "unlimited"
PREFIX = "elastic."

_OF_NODES = ("cpu", "memory", "ephemeral-storage")
_BYTES = ("memory", "ephemeral-storage")
# Whoever writes 32 means 32Gi.
_LEAST_BYTES = 1024 * 1024
_EXTENDED = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9][-A-Za-z0-9_.]*"
)
_EXAMPLE = {"cpu": "8 or 500m", "memory": "32Gi", "ephemeral-storage": "50Gi"}

# An amount of each resource that is mentioned; None: without limit.
Amounts = Mapping[str, Decimal | None]


class Source(NamedTuple):
    """Who set a limit: `user`, `group` (of that name) or `default`."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        words = {"user": "set for this user", "default": "the default"}
        return words.get(self.kind) or f"of group {self.name}"


class Limit(NamedTuple):
    """How much of a resource one may hold; None: as much as there is."""

    amount: Decimal | None
    source: Source


class Problem(NamedTuple):
    """A property of a group that says nothing that can be used."""

    group: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"group {self.group}, property {self.key}: {self.message}"


class Policy(NamedTuple):
    """Limits by the administrator's settings: for everybody, and by user's name."""

    default: Amounts
    users: Mapping[str, Amounts]


def amount(resource: str, value: object) -> Decimal | None:
    """A limit as somebody wrote it, a text or a number; None for `unlimited`.

    Raises ValueError with a sentence that says what is allowed.
    """
    if resource != KERNELS and resource not in _OF_NODES and not _EXTENDED.fullmatch(resource):
        raise ValueError(
            f"{resource!r} is no resource that can be limited: {KERNELS}, {', '.join(_OF_NODES)}, "
            "or a GPU by its resource name, such as nvidia.com/gpu"
        )
    example = _EXAMPLE.get(resource, "2")
    wrong = f"{value!r} is no limit of {resource}: write one such as {example}, or {UNLIMITED}"
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(wrong)
    text = str(value).strip()
    if text.lower() == UNLIMITED:
        return None
    try:
        number = quantities.parse(text)
    except (ValueError, ArithmeticError):
        raise ValueError(wrong) from None
    if number < 0:
        raise ValueError(f"{wrong}; it can't be negative")
    if resource in _BYTES:
        if 0 < number < _LEAST_BYTES:
            raise ValueError(f"{wrong}; {text} would be so many bytes")
    elif resource != "cpu" and number != number.to_integral_value():
        raise ValueError(f"{wrong}; they can't be divided")
    return number


def of_group(group: Group) -> tuple[dict[str, Decimal | None], list[Problem]]:
    """The limits in a group's properties, and what of them can't be used and so doesn't count."""
    found: dict[str, Decimal | None] = {}
    problems = []
    for key, value in sorted(group.properties.items()):
        if not key.strip().lower().startswith("elastic"):
            continue  # somebody else's
        try:
            if not key.startswith(PREFIX):
                raise ValueError(
                    f"limits are rows of their own, such as {PREFIX}{KERNELS} or "
                    f"{PREFIX}nvidia.com/gpu"
                )
            resource = key.removeprefix(PREFIX)
            found[resource] = amount(resource, value)
        except ValueError as error:
            problems.append(Problem(group.name, key, str(error)))
    return found, problems


def problems(groups: Iterable[Group]) -> list[Problem]:
    """What is wrong in any of these groups."""
    return [problem for group in groups for problem in of_group(group)[1]]


def of_user(user: str, groups: Iterable[Group], policy: Policy) -> dict[str, Limit]:
    """The limits of a user who is in these groups, by resource."""
    limits = {resource: Limit(most, Source("default")) for resource, most in policy.default.items()}
    by_groups: dict[str, Limit] = {}
    for group in sorted(groups, key=lambda group: group.name):
        for resource, most in of_group(group)[0].items():
            present = by_groups.get(resource)
            if present is None or _is_more(most, present.amount):
                by_groups[resource] = Limit(most, Source("group", group.name))
    of_own = {
        resource: Limit(most, Source("user", user))
        for resource, most in policy.users.get(user, {}).items()
    }
    return limits | by_groups | of_own


def _is_more(one: Decimal | None, other: Decimal | None) -> bool:
    if one is None or other is None:
        return one is None and other is not None
    return one > other
