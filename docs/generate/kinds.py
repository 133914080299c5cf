"""A kind's reference, from its custom resource definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docs.generate.markdown import code, prose, table

# The API server describes these itself.
_STANDARD = ("apiVersion", "kind", "metadata")


def kind_reference(definition: dict[str, Any]) -> str:
    """What the kind is for, its names, and a table of fields for spec and for status.

    definition: a CustomResourceDefinition with one version. Raises ValueError for a field that
    has no description.
    """
    spec = definition["spec"]
    names = spec["names"]
    (version,) = spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [
        _described(names["kind"], schema),
        table(
            ["", ""],
            [
                ["apiVersion", code(f"{spec['group']}/{version['name']}")],
                ["kind", code(names["kind"])],
                ["for kubectl", ", ".join(map(code, [names["plural"], *names["shortNames"]]))],
                ["scope", spec["scope"].lower()],
            ],
        ),
    ]
    for name, section in schema["properties"].items():
        if name in _STANDARD:
            continue
        parts += [f"## {name}", _described(name, section)]
        parts.append(table(["Field", "Type", "Meaning"], _rows(section, "")))
        rules = [rule["message"] for rule in _rules(section)]
        if rules:
            parts.append("The API server refuses a resource unless:")
            parts.append("\n".join(f"- {message}" for message in rules))
    return "\n\n".join(parts)


def _rows(schema: dict[str, Any], path: str) -> Iterator[list[str]]:
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        meaning = _described(here, field)
        if name in schema.get("required", []):
            meaning += " Required."
        if "default" in field:
            meaning += f" Default: {code(field['default'])}."
        yield [code(here), _type(field), meaning]
        yield from _rows(field, here)
        yield from _rows(field.get("items", {}), f"{here}[]")


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "enum" in schema:
        return "one of " + ", ".join(code(value) if value else "empty" for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema['items'])}s"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type(schema['additionalProperties'])}"
    if schema.get("format") in ("date-time", "uuid"):
        return "time" if schema["format"] == "date-time" else "UUID"
    low, high = schema.get("minimum"), schema.get("maximum")
    limits = "".join(
        text for value, text in ((low, f", ≥ {low}"), (high, f", ≤ {high}")) if value is not None
    )
    return {"boolean": "true or false"}.get(kind, kind) + limits


def _rules(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from schema.get("x-kubernetes-validations", [])
    for field in schema.get("properties", {}).values():
        yield from _rules(field)
    if "items" in schema:
        yield from _rules(schema["items"])


def _described(path: str, schema: dict[str, Any]) -> str:
    text = str(schema.get("description", "")).strip()
    if not text:
        raise ValueError(f"field {path}: has no description in its custom resource definition")
    return prose(text if text.endswith((".", ":", ")")) else text + ".")
