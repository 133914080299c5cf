"""Which notebooks a kernel runs for, kept with the kernel's resource. Pure.

Notebook servers keep their sessions themselves, and lose them when they end. One that comes after
another finds here what belongs together.
"""

from __future__ import annotations

import json
from typing import Any

from hub_service.kinds import ANNOTATION_SESSIONS, Object

_FIELDS = ("id", "path", "name", "type")
# An object's annotations may have 256 KiB in all.
_MAX_SIZE = 32 * 1024


def annotation(body: dict[str, Any]) -> str:
    """The annotation's value for a request's body, {"sessions": [{id, path, name, type}, ...]}.

    Raises ValueError with a sentence, naming the field.
    """
    sessions = body.get("sessions")
    if not isinstance(sessions, list):
        raise ValueError("sessions must be a list.")
    kept = [_session(index, value) for index, value in enumerate(sessions)]
    text = json.dumps(kept, separators=(",", ":"))
    if len(text) > _MAX_SIZE:
        raise ValueError(f"sessions must not be longer than {_MAX_SIZE} bytes, as JSON.")
    return text


def sessions_of(kernel: Object | None) -> list[dict[str, str]]:
    """What `annotation` wrote; nothing where something else stands there."""
    annotations = ((kernel or {}).get("metadata") or {}).get("annotations") or {}
    try:
        value = json.loads(annotations.get(ANNOTATION_SESSIONS, "[]"))
        return [_session(index, entry) for index, entry in enumerate(value)]
    except (ValueError, TypeError):
        return []


def _session(index: int, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"sessions[{index}] must be an object.")
    session = {field: value.get(field) or "" for field in _FIELDS}
    for field, text in session.items():
        if not isinstance(text, str):
            raise ValueError(f"sessions[{index}].{field} must be a string.")
    return session
