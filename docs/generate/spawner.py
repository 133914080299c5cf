"""The spawner's reference, from the source of ElasticSpawner.

The source is read and not imported, so that the documentation builds without a hub.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from docs.generate.markdown import code

# What a trait holds when its definition names no default.
_EMPTY: dict[str, Any] = {"Unicode": "", "Integer": 0, "Bool": False, "List": [], "Dict": {}}


def spawner_reference(source: str, class_name: str = "ElasticSpawner") -> str:
    """A heading, type, default and help text for each configurable trait of the class.

    Raises ValueError for a trait without help, or a class that isn't there.
    """
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return "\n\n".join(_described(name, call) for name, call in traits(node))
    raise ValueError(f"no class {class_name} in this source")


def traits(node: ast.ClassDef) -> Iterator[tuple[str, ast.Call]]:
    """Name and definition of every trait that can be configured."""
    for statement in node.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
            continue
        target = statement.targets[0]
        if isinstance(target, ast.Name) and _keyword(statement.value, "config"):
            yield target.id, statement.value


def _described(name: str, call: ast.Call) -> str:
    text = _keyword(call, "help")
    if not text or not text.strip():
        raise ValueError(f"{name}: this trait has no help text")
    kind = call.func.id if isinstance(call.func, ast.Name) else ast.unparse(call.func)
    return (
        f"## {name}\n\n{code(f'c.ElasticSpawner.{name}')}: {kind}, default "
        f"{code(_default(kind, call))}\n\n{cleandoc(text)}"
    )


def _default(kind: str, call: ast.Call) -> str:
    for argument in reversed(call.args):
        try:
            return repr(ast.literal_eval(argument))
        except ValueError:  # the type of the items, or a list of types
            continue
    given = _keyword(call, "default_value")
    return repr(_EMPTY.get(kind) if given is None else given)


def _keyword(call: ast.Call, name: str) -> Any:
    for keyword in call.keywords:
        if keyword.arg == name:
            return ast.literal_eval(keyword.value)
    return None
