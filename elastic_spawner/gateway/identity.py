"""Who may call: decided from what the hub says about a token. Pure.

Two kinds of tokens pass: a server's own, whose one access to servers is that to a server of the
very user it belongs to; and one with the custom scope that `configure` defines, for programs. A
token that a service or somebody else's server got through OAuth is neither, whatever else it may
do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from hub_service.names import kernels_scope

# A confirmed token is taken at its word this long, and while the hub is unreachable, this long.
FRESH_FOR = timedelta(seconds=30)
VALID_WITHOUT_HUB_FOR = timedelta(minutes=5)

_ACCESS = "access:servers"


@dataclass(frozen=True)
class Identity:
    """A caller.

    name: of the hub user, as the hub writes it; of the service where is_service; of its owner where
    it is a JupyterNotebook.
    server: name of the hub server the token belongs to ("" is the default server); None where the
    token is not bound to one.
    notebook: (namespace, name) of the JupyterNotebook that the token belongs to.
    groups: names of the hub's groups that the user is in.
    """

    name: str
    server: str | None = None
    is_service: bool = False
    notebook: tuple[str, str] | None = None
    groups: frozenset[str] = frozenset()


class Confirmation(Enum):
    """How far an earlier answer of the hub still carries."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


def identify(model: Mapping[str, Any], *, service_name: str) -> Identity | None:
    """The caller that the hub's `/user` model speaks of, or None if its token gives no access.

    model: the JSON object of `GET /hub/api/user` (kind, name, groups, scopes).
    service_name: the one hub service that may call.
    """
    name, scopes = model.get("name"), model.get("scopes")
    if not isinstance(name, str) or not name or not isinstance(scopes, list):
        return None
    if model.get("kind") == "service":
        return Identity(name, is_service=True) if name == service_name else None
    if model.get("kind") != "user":
        return None
    groups = _groups(model)
    access = [scope for scope in scopes if isinstance(scope, str) and scope.startswith(_ACCESS)]
    own_server = f"{_ACCESS}!server={name}/"
    if len(access) == 1 and access[0].startswith(own_server):
        return Identity(name, server=access[0].removeprefix(own_server), groups=groups)
    return Identity(name, groups=groups) if kernels_scope(service_name) in scopes else None


def _groups(model: Mapping[str, Any]) -> frozenset[str]:
    """The hub tells every token the groups of the user whose it is."""
    listed = model.get("groups")
    names = listed if isinstance(listed, list) else []
    return frozenset(name for name in names if isinstance(name, str))


def confirmation(confirmed: datetime, now: datetime) -> Confirmation:
    """What an answer that the hub gave at `confirmed` is worth at `now`."""
    age = now - confirmed
    if age < FRESH_FOR:
        return Confirmation.FRESH
    return Confirmation.STALE if age < VALID_WITHOUT_HUB_FOR else Confirmation.EXPIRED


def token_of(authorization: str | None) -> str | None:
    """The token of an `Authorization` header (scheme token or Bearer), None if there is none."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() not in ("token", "bearer"):
        return None
    return token.strip() or None
