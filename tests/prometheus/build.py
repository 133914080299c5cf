"""Builds Prometheus and promtool from their sources, once; into the same cache as Kubernetes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from localcluster.layout import cache_folder
from localcluster.processes import one_at_a_time
from localcluster.program import find_go

VERSION = "v0.310.0"  # what its modules are called; Prometheus 3.10
_MODULE = "github.com/prometheus/prometheus"


def programs() -> Path:
    """The folder with `prometheus` and `promtool`."""
    folder = cache_folder() / f"prometheus-{VERSION}"
    with one_at_a_time(cache_folder(), "building Prometheus"):
        if not folder.exists():
            _build(folder)
    return folder


def _build(folder: Path) -> None:
    go = find_go()
    # Finding targets in a dozen clouds is most of the program, and not needed.
    arguments = ["build", "-tags", "remove_all_sd", "-trimpath", "-ldflags", "-s -w"]
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    with tempfile.TemporaryDirectory() as scratch:
        found = subprocess.run(
            [go, "mod", "download", "-json", f"{_MODULE}@{VERSION}"],
            cwd=scratch,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        source = Path(scratch, "source")
        # Without the mode bits: the module cache is read-only.
        shutil.copytree(json.loads(found.stdout)["Dir"], source, copy_function=shutil.copyfile)
        built = folder.with_name(f"{folder.name}.{os.getpid()}")
        subprocess.run(
            [go, *arguments, "-o", f"{built}/", "./cmd/prometheus", "./cmd/promtool"],
            cwd=source,
            env=environment,
            check=True,
        )
    built.rename(folder)
