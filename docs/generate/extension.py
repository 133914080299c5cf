"""Sphinx extension: puts generated references into pages, where they hold a line such as

    <!-- reference: settings -->

Names: `settings` (hub_service/settings/), `spawner` (elastic_spawner/spawner.py), or a custom
resource definition's path from the project's root. What can't be described fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from docs.generate.kinds import kind_reference
from docs.generate.settings import settings_reference
from docs.generate.spawner import spawner_reference

_ROOT = Path(__file__).parents[2]
_PLACEHOLDER = re.compile(r"^<!-- reference: (\S+) -->$", flags=re.MULTILINE)


def reference(name: str) -> str:
    """Markdown for a placeholder's name. Raises ValueError for a name or field without meaning."""
    if name == "settings":
        from hub_service.settings import Settings

        return settings_reference(Settings)
    if name == "spawner":
        return spawner_reference((_ROOT / "elastic_spawner" / "spawner.py").read_text())
    if name.startswith("crds/"):
        return kind_reference(yaml.safe_load((_ROOT / name).read_text()))
    raise ValueError(f"no reference is called {name!r}")


def _fill(_app: Any, _docname: str, source: list[str]) -> None:
    source[0] = _PLACEHOLDER.sub(lambda match: reference(match[1]), source[0])


def _pages_with_references(_app: Any, env: Any, *_changes: Any) -> list[str]:
    # What they are made from may have changed though the pages did not.
    return [
        docname
        for docname in env.found_docs
        if _PLACEHOLDER.search(Path(env.doc2path(docname)).read_text())
    ]


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _pages_with_references)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
