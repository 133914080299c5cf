"""What a process is called: as the one before it, if that is dead, and never as one that lives."""

import os
import subprocess
import sys

import pytest

from hub_service.kube.identity import identity

ASK = """
import sys
from pathlib import Path
from hub_service.kube.identity import identity
with identity("service", Path(sys.argv[1])) as name:
    print(name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def asking(tmp_path):
    """Starts processes that have a name until they are killed; returns each with its name."""
    processes = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", ASK, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_after_a_kill_the_next_has_the_same_and_one_beside_it_another(asking):
    first, name = asking()
    _, other = asking()
    assert name
    assert other not in ("", name)
    first.kill()
    first.wait()
    _, again = asking()
    assert again == name


def test_what_else_is_in_the_file_is_replaced(tmp_path):
    (tmp_path / "service.identity").write_text("../../etc/passwd\n" * 10)
    with identity("service", tmp_path) as first:
        pass
    with identity("service", tmp_path) as second:
        pass
    assert first == second
    assert "/" not in first


def test_without_a_folder_to_write_to_there_is_one_all_the_same(tmp_path):
    with (
        identity("service", tmp_path / "missing") as first,
        identity("service", tmp_path / "missing") as second,
    ):
        assert first != second


def test_a_link_in_its_place_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    os.symlink(target, tmp_path / "service.identity")
    with identity("service", tmp_path):
        pass
    assert target.read_text() == "kept"
