"""A session that was saved is the same in another kernel: two real ones, and a home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).parents[2]
SAVE = "import elastic_session; elastic_session.save()"
RESTORE = "import elastic_session; elastic_session.restore()"


@contextmanager
def a_kernel(home: Path, kernel_id: str = "") -> Iterator[BlockingKernelClient]:
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT / "images" / "kernel"),
        "KERNEL_ID": kernel_id,
    }
    manager, client = start_new_kernel(env=environment, cwd=str(home))
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        for context in (client.context, manager.context):
            context.destroy(linger=0)


def run(client: BlockingKernelClient, code: str) -> str:
    """What the code prints, or the error that it ends with."""
    printed: list[str] = []

    def hear(message: dict[str, dict[str, str]]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=60, output_hook=hear)["content"]
    return "".join(printed) if reply["status"] == "ok" else f"{reply['ename']}: {reply['evalue']}"


CELLS = """
import math
import collections as c
_private = 1
numbers = c.OrderedDict(a=[1, 2], b={3})
both = [numbers, numbers]
factor = 2
class Point:
    def __init__(self, x):
        self.x = x
    def scaled(self):
        return math.floor(self.x * factor)
point = Point(4.6)
def scale(value):
    return value * factor
"""
LOOK = """
factor = 10
print(numbers["b"], both[0] is both[1], point.scaled(), scale(3), math.pi > 3, "_private" in dir())
"""


def test_variables_functions_and_classes_come_back(tmp_path: Path) -> None:
    with a_kernel(tmp_path, "7f3a5c21-0000") as client:
        run(client, CELLS)
        told = run(client, SAVE)
        assert told.startswith("8 variables saved to "), told
        assert "-7f3a5c21')` brings them back" in told
    (path,) = (tmp_path / ".local/share/elastic-kernels/sessions").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    with a_kernel(tmp_path) as client:
        told = run(client, RESTORE)
        assert told.startswith("Restored 8 variables of "), told
        assert "Point, both, c, factor, math, numbers, point, scale" in told
        assert run(client, LOOK) == "{3} True 46 30 True False\n"


def test_what_cannot_be_saved_is_left_out_and_said(tmp_path: Path) -> None:
    with a_kernel(tmp_path) as client:
        run(client, "good = 1; link = __import__('socket').socket(); lines = (n for n in [1])")
        assert run(client, SAVE).endswith("Could not be saved: lines, link.\n")
        assert run(client, "del good\n" + RESTORE).startswith("Restored 1 variable of ")
        assert run(client, "print(good)") == "1\n"


def test_a_full_home_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    sessions = tmp_path / ".local/share/elastic-kernels/sessions"
    with a_kernel(tmp_path) as client:
        run(client, "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)")
        run(
            client, "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); x = b'.' * 20_000"
        )
        assert run(client, SAVE).startswith("OSError: [Errno 27]")
        assert list(sessions.iterdir()) == []


def test_the_newest_few_are_kept_and_chosen_by_name(tmp_path: Path) -> None:
    with a_kernel(tmp_path) as client:
        assert run(client, RESTORE).startswith("FileNotFoundError: There is no session")
        run(client, "import elastic_session, os")
        for number in range(7):
            run(client, f"number = {number}; path = elastic_session.save('s{number}')")
            run(client, f"os.utime(path, ({number}, {number}))")
        assert (
            run(client, "print(elastic_session.sessions())") == "['s6', 's5', 's4', 's3', 's2']\n"
        )
        run(client, "elastic_session.restore('s3')")
        assert run(client, "print(number)") == "3\n"
        assert "there are: s6, s5" in run(client, "elastic_session.restore('s1')")


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with a_kernel(tmp_path) as client:
        assert "is no name" in run(
            client, f"import elastic_session; elastic_session.save({name!r})"
        )
