"""Processes: one command at a time, and a record of what a cluster started.

Only recorded processes are ever ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from localcluster.console import say
from localcluster.layout import ClusterError


def start_time(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; None if it is gone.

    A process id is used again by other programs: together with this it is not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]


def record(path: Path, **pids: int) -> None:
    """Add processes to the record."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for role, pid in pids.items():
        known[role] = {"pid": pid, "started": start_time(pid)}
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(known))
    unfinished.rename(path)


def alive(path: Path) -> dict[str, int]:
    """The recorded processes that still run, by role."""
    try:
        known = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return {
        role: entry["pid"]
        for role, entry in known.items()
        if start_time(entry["pid"]) == entry["started"]
    }


def child_of(pid: int) -> int | None:
    """The only child of a process, if it has one."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def end(path: Path, deadline: float = 30.0) -> bool:
    """End the recorded processes and wait for them; True if there were any.

    The kernel lets process 1 of a PID namespace go only after all others in it are gone.
    Raises ClusterError if one stays.
    """
    running = alive(path)
    if "launcher" in running and "init" not in running:
        child = child_of(running["launcher"])
        if child is not None:
            record(path, init=child)
            running = alive(path)
    for pid in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + deadline
    while left := alive(path):
        if time.monotonic() > limit:
            raise ClusterError(f"processes {left} do not end {deadline:.0f} s after SIGKILL")
        _reap(left)
        time.sleep(0.05)
    return bool(running)


def _reap(pids: dict[str, int]) -> None:
    """Let go of ended processes that this very process started."""
    for pid in pids.values():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def one_at_a_time(folder: Path, what: str) -> Iterator[None]:
    """Lock a folder against other commands; the lock goes when this one ends, however."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is {what}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
