"""Helm: the person's own where there is one, else built from its Go module, kept in the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from localcluster.console import logged, say
from localcluster.layout import cache_folder
from localcluster.processes import one_at_a_time
from localcluster.program import find_go

_MODULE = "helm.sh/helm/v3/cmd/helm"
_VERSION = "v3.22.0"


class HelmError(RuntimeError):
    """Helm said no; the message is what it printed."""


def helm(*arguments: str | Path) -> str:
    """Run Helm against the cluster of KUBECONFIG; returns what it printed. Raises HelmError."""
    words = [str(word) for word in arguments]
    done = subprocess.run([_program(), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmError(f"helm {' '.join(words[:4])}: {done.stderr.strip()}")
    return done.stdout


def _program() -> str:
    own = os.environ.get("HELM") or shutil.which("helm")
    if own:
        return own
    folder = cache_folder() / f"helm-{_VERSION}"
    with one_at_a_time(cache_folder(), "building Helm"):
        if not (folder / "helm").exists():
            say(f"no helm here: building {_MODULE} {_VERSION} (2 minutes on 2 cores)")
            unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
            logged(
                [find_go(), "install", f"{_MODULE}@{_VERSION}"],
                folder.with_suffix(".log"),
                "Install Helm 3 or newer and put it on PATH.",
                env=os.environ | {"GOBIN": str(unfinished), "CGO_ENABLED": "0"},
            )
            unfinished.rename(folder)
    return str(folder / "helm")
