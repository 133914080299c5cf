"""The settings' reference, from the pydantic model that validates them."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from inspect import getdoc
from typing import Any

from pydantic import BaseModel

from docs.generate.markdown import code, prose, table


def settings_reference(model: type[BaseModel]) -> str:
    """One table for each section of the model, which is in the order of its fields.

    Raises ValueError for a setting that says not what it is for, or a number without a unit
    (`json_schema_extra={"unit": …}` of its Field).
    """
    parts = []
    for path, section in _sections(model, ""):
        if path:
            parts.append(f"## {path}")
            parts.append(_described(path, getdoc(section)))
        rows = list(_rows(path, section))
        if rows:
            parts.append(table(["Setting", "Type", "Default", "Meaning"], rows))
    return "\n\n".join(parts)


def _sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for part, suffix in _models_in(field.annotation):
            yield from _sections(part, _join(path, (field.alias or name) + suffix))


def _rows(path: str, model: type[BaseModel]) -> Iterator[list[str]]:
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if any(not suffix for _, suffix in _models_in(field.annotation)):
            continue  # a section of its own
        alias = field.alias or name
        setting = _join(path, alias)
        default = (
            "required"
            if field.is_required()
            else _default(field.get_default(call_default_factory=True))
        )
        meaning = _described(setting, field.description)
        yield [code(setting), _type(setting, properties[alias]), default, meaning]


def _models_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Models that a field holds: itself, or (with a suffix of the path) in a list or mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    origin = typing.get_origin(annotation)
    suffix = "[]" if origin in (list, tuple) else ".NAME" if origin is dict else ""
    for argument in typing.get_args(annotation):
        for model, inner in _models_in(argument):
            yield model, suffix + inner


def _type(setting: str, schema: dict[str, Any]) -> str:
    options = schema.get("anyOf")
    if options:
        rest = [option for option in options if option.get("type") != "null"]
        merged = [{**schema, "anyOf": None, **option} for option in rest]
        return " or ".join(_type(setting, option) for option in merged)
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(code(value) for value in schema["enum"])
    kind = str(schema.get("type", "object"))
    if kind in ("integer", "number"):
        if "unit" not in schema:
            raise ValueError(
                f"setting {setting}: a number without a unit; add "
                'json_schema_extra={"unit": "seconds"} (or what it counts) to its Field'
            )
        return f"{kind}, {schema['unit']}{_limits(schema)}"
    if kind == "array":
        item = schema.get("items", {})
        return "list" if "$ref" in item else f"list of {_type(setting, item)}s"
    return {"object": "mapping", "boolean": "true or false"}.get(kind, kind)


def _limits(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", {low} or more"
    return f", {high} or less" if high is not None else ""


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, str):
        return code(value) if value else "empty"
    return code(value)


def _described(path: str, text: str | None) -> str:
    if not text or not text.strip():
        raise ValueError(f"setting {path}: has no description")
    return prose(text)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
