"""Puts a jupyter_server configuration file into a notebook's pod, so that stock images will do.

The pod carries the file as an annotation; a downward API volume shows it to the notebook's
container as a file, in a folder named in JUPYTER_CONFIG_PATH. No ConfigMap has to be made, kept
and cleaned up, and what a running server was given never changes under it. Pure, but for reading
the file that stands beside this one.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any

from hub_service.kinds import GROUP

ANNOTATION = f"{GROUP}/jupyter-server-config"
FOLDER = "/etc/elastic-kernels/jupyter"

_FILE = "jupyter_server_config.py"
_VOLUME = "elastic-jupyter-config"
_PATH = "JUPYTER_CONFIG_PATH"
_SEPARATOR = ":"


@cache
def file_text() -> str:
    """The configuration file that comes with this version."""
    return (files(__name__) / _FILE).read_text(encoding="utf-8")


def with_notebook_config(
    pod: dict[str, Any], text: str, *, container: str = "notebook"
) -> dict[str, Any]:
    """A pod, or pod template, whose notebook server reads the configuration `text`.

    pod: serialized, {metadata, spec}; it is not changed.
    container: name of the notebook's container; the first one where none is named so.

    All that the pod has already stays: folders in JUPYTER_CONFIG_PATH come before ours, and so
    win over it. A variable without a plain value (`valueFrom`) is left alone, and the file is then
    not read. Idempotent.
    """
    pod = deepcopy(pod)
    metadata = pod.setdefault("metadata", {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: text}
    spec = pod["spec"]
    spec["volumes"] = _replaced(spec.get("volumes"), _volume())
    notebook = _notebook(spec["containers"], container)
    mount = {"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}
    notebook["volumeMounts"] = _replaced(notebook.get("volumeMounts"), mount)
    notebook["env"] = _with_folder(notebook.get("env") or [])
    return pod


def _volume() -> dict[str, Any]:
    source = {"fieldPath": f"metadata.annotations['{ANNOTATION}']"}
    return {"name": _VOLUME, "downwardAPI": {"items": [{"path": _FILE, "fieldRef": source}]}}


def _notebook(containers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((item for item in containers if item.get("name") == name), containers[0])


def _replaced(items: list[dict[str, Any]] | None, item: dict[str, Any]) -> list[dict[str, Any]]:
    """The list with the item in it, once."""
    return [*(other for other in items or [] if other.get("name") != item["name"]), item]


def _with_folder(env: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result, found = [], False
    for entry in env:
        if entry.get("name") == _PATH:
            found = True
            folders = [part for part in (entry.get("value") or "").split(_SEPARATOR) if part]
            if "valueFrom" not in entry and FOLDER not in folders:
                entry = {**entry, "value": _SEPARATOR.join([*folders, FOLDER])}  # noqa: PLW2901
        result.append(entry)
    return result if found else [*result, {"name": _PATH, "value": FOLDER}]
