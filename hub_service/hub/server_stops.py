"""Hub servers that stopped a moment ago, as a JupyterGateway is told of them. Pure.

A gateway takes the hub's word about a token for half a minute. The hub has forgotten a server's
token when it stops: the spawner writes whose server that was into an annotation of the gateway's
resource, which all of the gateway's pods watch, and they ask the hub again. One hub writes it, and
nothing stands there for much longer than a gateway would remember anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service.kinds import GROUP

ANNOTATION = f"{GROUP}/servers-stopped"
# Longer than gateways take the hub's word for.
KEPT_FOR = timedelta(minutes=1)
_MOST = 200


class Stop(NamedTuple):
    """A server's end: an id of its own, the user whose it was, and when."""

    id: str
    owner: str
    at: datetime


def with_new(stops: Iterable[Stop], new: Stop) -> list[Stop]:
    """The stops to be told of, the new one included, without those that are old news."""
    kept = [stop for stop in stops if new.at - stop.at < KEPT_FOR]
    return [*kept, new][-_MOST:]


def text(stops: Iterable[Stop]) -> str:
    """The annotation's value."""
    return json.dumps({stop.id: stop.owner for stop in stops})


def read(annotations: Mapping[str, str]) -> dict[str, str]:
    """Whose servers stopped, by the stops' ids; none where the annotation can't be read."""
    try:
        value = json.loads(annotations.get(ANNOTATION, "{}"))
    except ValueError:
        return {}
    return {str(key): str(owner) for key, owner in value.items()} if isinstance(value, dict) else {}
