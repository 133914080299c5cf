"""The program in warm pods: what it loads, waits for, and becomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub_service.warm import pods

DEADLINE = 60
# The kernel: says what it finds, and ends.
KERNEL = """
import json, os, sys
print(json.dumps({
    "name": __name__,
    "words": sys.argv[1:],
    "loaded": "colorsys" in sys.modules,
    "user": os.environ.get("KERNEL_USERNAME"),
    "own": os.environ.get("OWN"),
    "at": os.getcwd(),
    "path": sys.path[0],
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "a_kernel.py").write_text(KERNEL)
    for name in ("run", "image", "volume", "volume/notes"):
        (tmp_path / name).mkdir()
    return tmp_path


@contextmanager
def pod(folder: Path, imports: str = "colorsys", *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", pods.boot_text(), str(folder / "run"), imports, "a_kernel", *words],
        cwd=folder / "image",
        env={**os.environ, "PYTHONPATH": str(folder / "modules"), "OWN": "spec's"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def deliver(folder: Path, line: bytes, process: subprocess.Popen[str]) -> None:
    """As the service does it, once the process waits."""
    command = [*pods.DELIVER[:-1], str(folder / "run" / "claim")]
    ends = time.monotonic() + DEADLINE
    while True:
        done = subprocess.run(command, input=line, check=False, timeout=DEADLINE)
        if done.returncode == 0:
            return
        assert done.returncode == 3, "the pipe is not there yet"
        assert process.poll() is None
        assert time.monotonic() < ends


def wanted(**late: str) -> dict:
    environment = [{"name": name, "value": value} for name, value in late.items()]
    container = {"name": "kernel", "env": environment}
    return {"metadata": {}, "spec": {"containers": [container]}}


def said(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    return {**json.loads(out), "stderr": err}


def test_it_becomes_the_kernel_of_who_claims_it(folder):
    with pod(folder, "colorsys", "-f", "x") as process:
        line = pods.delivery(wanted(KERNEL_USERNAME="zoë $$HOME"), '{"key":\n "k"}')
        deliver(folder, line, process)
        found = said(process)
    assert found == {
        "name": "__main__",
        "words": ["-f", "x"],
        "loaded": True,
        "user": "zoë $HOME",
        "own": "spec's",
        "at": str(folder / "image"),
        "path": str(folder / "image"),
        "stderr": "",
    }
    connection = folder / "run" / "connection.json"
    assert json.loads(connection.read_text()) == {"key": "k"}
    assert connection.stat().st_mode & 0o077 == 0


def test_it_starts_in_the_notebooks_folder(folder):
    place = wanted(KERNEL_WORKING_DIR=str(folder / "volume" / "notes"))
    place["spec"]["containers"][0]["workingDir"] = str(folder / "volume")
    with pod(folder) as process:
        deliver(folder, pods.delivery(place, "{}"), process)
        assert said(process)["at"] == str(folder / "volume" / "notes")


def test_a_folder_that_is_not_there_is_told(folder):
    place = wanted(KERNEL_WORKING_DIR="/no/such")
    place["spec"]["containers"][0]["workingDir"] = str(folder / "volume")
    with pod(folder) as process:
        deliver(folder, pods.delivery(place, "{}"), process)
        found = said(process)
    assert found["at"] == str(folder / "volume")
    assert found["stderr"] == f"The kernel starts in {folder / 'volume'}: /no/such is not there.\n"


def test_started_again_in_its_pod_it_is_a_kernel_as_any_other(folder):
    with pod(folder) as process:
        deliver(folder, pods.delivery(wanted(KERNEL_USERNAME="ada"), "{}"), process)
        said(process)
    with pod(folder) as process:
        found = said(process)
    assert (found["user"], found["loaded"]) == ("ada", False)


def test_a_line_that_was_cut_off_ends_it(folder):
    line = pods.delivery(wanted(KERNEL_USERNAME="ada"), "{}")
    with pod(folder) as process:
        deliver(folder, line[:20] + b"\n", process)
        assert process.wait(DEADLINE) == 1
    assert not (folder / "run" / "taken.json").exists()


def test_an_import_that_fails_ends_it(folder):
    with pod(folder, "no_such_module") as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert not (folder / "run" / "claim").exists()


def test_its_text_is_taken_by_kubernetes_as_it_is():
    """`$(NAME)` in a container's command stands for a variable."""
    assert "$(" not in pods.boot_text()
