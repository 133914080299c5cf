"""When a gateway that was made for one user may go. Pure.

The spawner deletes such a gateway when the user's server stops. What it could not delete (the hub
was killed, the API server did not answer) is found by these rules.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_service.kinds import (
    ANNOTATION_SERVER,
    LABEL_MANAGED_BY,
    SPAWNER,
    Object,
    is_deleting,
    spec_of,
)

# How often the hub is asked about a gateway, and for how long nobody must have used one.
LOOK_AGAIN = timedelta(minutes=2)
GRACE = timedelta(minutes=1)


@dataclass(frozen=True)
class Keep:
    """It stays. `unused_since` is when it was first seen unused, None where it isn't."""

    until: datetime
    unused_since: datetime | None


@dataclass(frozen=True)
class Remove:
    """Nobody uses it, and has not for a while."""


def is_one_users(gateway: Object) -> bool:
    """Whether a spawner made it for one user, and it is still to be there."""
    labels: Object = gateway["metadata"].get("labels") or {}
    return labels.get(LABEL_MANAGED_BY) == SPAWNER and not is_deleting(gateway)


def owner_of(gateway: Object) -> str:
    """The hub user that it is for."""
    return str(spec_of(gateway).get("owner", ""))


def decide(
    gateway: Object,
    servers: Set[str] | None,
    *,
    has_kernels: bool,
    unused_since: datetime | None,
    now: datetime,
    look_again: timedelta = LOOK_AGAIN,
    grace: timedelta = GRACE,
) -> Keep | Remove:
    """Keep a user's gateway, or remove it.

    servers: names of its owner's servers that run, start or stop ("" is the default one), as the
    hub says; None where the hub gave no definite answer. Unknown is not gone.
    has_kernels: kernels end by rules of their own; until then their gateway stays.
    """
    if servers is None:
        return Keep(now + grace, unused_since)
    if has_kernels or _serves(gateway, servers):
        return Keep(now + look_again, None)
    since = now if unused_since is None else unused_since
    return Remove() if now - since >= grace else Keep(since + grace, since)


def _serves(gateway: Object, servers: Set[str]) -> bool:
    annotations: Object = gateway["metadata"].get("annotations") or {}
    only = annotations.get(ANNOTATION_SERVER)
    return bool(servers) if only is None else only in servers
