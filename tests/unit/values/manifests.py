"""The values files and manifests that people apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

VALUES = Path(__file__).parents[3] / "helm-values"


def documents(name: str) -> dict[tuple[str, str], Any]:
    """The objects of a file, by kind and name."""
    found = yaml.safe_load_all((VALUES / name).read_text())
    return {(item["kind"], item["metadata"]["name"]): item for item in found if item}
