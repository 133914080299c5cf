"""Who may call: decided from what the hub says about a token. Pure.

A token passes if the hub's `/user` model for it has a scope that gives access to a server of the
very user it belongs to. The server's own token has it; a token that a service or somebody else's
server got through OAuth has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

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
    """

    name: str
    server: str | None = None
    is_service: bool = False
    notebook: tuple[str, str] | None = None


class Confirmation(Enum):
    """How far an earlier answer of the hub still carries."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


def identify(model: Mapping[str, Any], *, service_name: str) -> Identity | None:
    """The caller that the hub's `/user` model speaks of, or None if its token gives no access.

    model: the JSON object of `GET /hub/api/user` (kind, name, scopes).
    service_name: the one hub service that may call.
    """
    name, scopes = model.get("name"), model.get("scopes")
    if not isinstance(name, str) or not name or not isinstance(scopes, list):
        return None
    if model.get("kind") == "service":
        return Identity(name, is_service=True) if name == service_name else None
    if model.get("kind") != "user":
        return None
    own_servers = f"{_ACCESS}!server={name}/"
    servers = [
        scope.removeprefix(own_servers)
        for scope in scopes
        if isinstance(scope, str) and scope.startswith(own_servers)
    ]
    if _ACCESS in scopes or f"{_ACCESS}!user={name}" in scopes or len(servers) > 1:
        return Identity(name)
    if len(servers) == 1:
        return Identity(name, server=servers[0])
    return None


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
