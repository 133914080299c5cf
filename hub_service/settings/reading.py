"""Settings from what the administrator wrote, and on to the service; errors in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hub_service.settings.model import Settings

ENVIRONMENT_VARIABLE = "ELASTIC_SETTINGS"


# Names that settings once had, here or in KubeSpawner, and what to write now.
_RENAMED = {
    "namespaceNameTemplate": "userNamespaces.template",
    "namespace_name_template": "userNamespaces.template",
    "start.timeout": "start.answerTimeout (from the container running to the kernel's first "
    "answer; each phase before it has a time-out of its own)",
}


class SettingsError(ValueError):
    """Settings that can't be used; the message names each field, its value and what is allowed."""


def parse(settings: Mapping[str, Any]) -> Settings:
    """Validate the administrator's mapping (camelCase keys, as in Helm values).

    Raises SettingsError, one line a problem: the field's path, what is wrong, the value given.
    """
    try:
        return Settings.model_validate(dict(settings))
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def dump(settings: Settings) -> str:
    """Settings as JSON for the service's environment; `load` reads it."""
    return settings.model_dump_json(by_alias=True)


def load(text: str) -> Settings:
    """Settings from the JSON of `dump`. Raises SettingsError."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{ENVIRONMENT_VARIABLE} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{ENVIRONMENT_VARIABLE} must be a mapping, not {type(data).__name__}")
    return parse(data)


def _explain(error: ValidationError) -> str:
    lines = ["The elastic settings can't be used:"]
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"]) or "(settings)"
        last = path.rpartition(".")[2]
        if new_name := _RENAMED.get(path) or _RENAMED.get(last):
            lines.append(f"  {path}: its name is {new_name} now")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"  {path}: there is no such setting; remove it or correct its name")
        elif problem["type"] == "missing":
            lines.append(f"  {path}: is required")
        else:
            lines.append(f"  {path}: {problem['msg']} (given: {problem['input']!r})")
    return "\n".join(lines)
