"""A user's limits, what is used of them, and by which kernels: for the service's API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hub_service.hub.groups import Groups
from hub_service.kernels.kernel import is_admitted, is_decided
from hub_service.kinds import Object, is_deleting, name_of, namespace_of
from hub_service.quotas import limits, quota, quota_words
from hub_service.quotas.limits import KERNELS, Limit, Policy


class Use(NamedTuple):
    """A resource: what its user may have, holds, and waits for."""

    resource: str
    limit: Limit | None
    used: Decimal
    waiting: Decimal

    @property
    def is_over(self) -> bool:
        """Whether more is held than the limit allows, as after it was lowered."""
        most = self.limit.amount if self.limit else None
        return most is not None and self.used > most


def uses(user: str, groups: Groups | None, kernels: Iterable[Object], policy: Policy) -> list[Use]:
    """Each resource that is limited for a user, or that one of their `kernels` takes."""
    held, waiting = _held(kernels), _waiting(kernels)
    most = limits.of_user(user, groups.of(user) if groups else (), policy)
    taken = [quota.amounts(item) for item in (*held, *waiting)]
    resources = {*most, *(resource for one in taken for resource in one)}
    return [
        Use(resource, most.get(resource), _sum(held, resource), _sum(waiting, resource))
        for resource in sorted(resources, key=lambda name: (name != KERNELS, name))
    ]


def model(
    user: str,
    groups: Groups | None,
    kernels: Sequence[Object],
    policy: Policy,
    rules: quota.Rules,
    now: datetime,
) -> Object:
    """The answer of the API. `groups`: None while the hub has not told them."""
    return {
        "user": user,
        "groups": sorted(groups.names_of(user)) if groups else [],
        "groups_known": groups is not None,
        "when_full": rules.when_full,
        "resources": {
            use.resource: {
                "limit": _number(use.limit.amount if use.limit else None),
                "used": _number(use.used),
                "waiting": _number(use.waiting),
                "over": use.is_over,
                "set_by": use.limit.source._asdict() if use.limit else None,
            }
            for use in uses(user, groups, kernels, policy)
        },
        "kernels": [
            {
                "name": name_of(item),
                "namespace": namespace_of(item),
                "waits": not is_admitted(item),
                "description": quota_words.describe(item, now),
                "uses": {name: _number(amount) for name, amount in quota.amounts(item).items()},
            }
            for item in sorted((*_held(kernels), *_waiting(kernels)), key=_age)
        ],
    }


def _held(kernels: Iterable[Object]) -> list[Object]:
    return [item for item in kernels if not is_deleting(item) and is_admitted(item)]


def _waiting(kernels: Iterable[Object]) -> list[Object]:
    return [
        item
        for item in kernels
        if not is_deleting(item) and not is_admitted(item) and not is_decided(item)
    ]


def _sum(kernels: Iterable[Object], resource: str) -> Decimal:
    zero = Decimal(0)
    return sum((quota.amounts(item).get(resource, zero) for item in kernels), zero)


def _age(item: Object) -> tuple[str, str]:
    return item["metadata"].get("creationTimestamp", ""), name_of(item)


def _number(amount: Decimal | None) -> int | float | None:
    if amount is None:
        return None
    return int(amount) if amount == amount.to_integral_value() else float(amount)
