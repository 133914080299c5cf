"""The cgroup that holds a cluster's pods, for both versions of cgroups."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from localcluster.layout import ClusterError

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


def _hierarchies() -> list[Path]:
    """The root of every cgroup hierarchy: one with version 2, one a controller with version 1."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return [p for p in sorted(_ROOT.iterdir()) if p.is_dir() and not p.is_symlink()]


def create(name: str) -> None:
    """Make the cgroup in every hierarchy, with what its children need."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        if hierarchy == _ROOT:
            _delegate(hierarchy)
        group.mkdir(exist_ok=True)
        if hierarchy == _ROOT:
            _delegate(group)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty at first
            if hierarchy != _ROOT and (hierarchy / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def _delegate(group: Path) -> None:
    """Version 2: let children of the group use the controllers that it has."""
    available = (group / "cgroup.controllers").read_text().split()
    wanted = [c for c in _CONTROLLERS if c in available]
    try:
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in wanted))
    except OSError as error:
        raise ClusterError(
            f"{group}: can't hand {', '.join(wanted)} to pods ({error}). In a container, start "
            "it with --privileged --cgroupns=host."
        ) from error


def remove(name: str, deadline: float = 10.0) -> None:
    """Remove the cgroup and everything below it; its processes must have ended."""
    limit = time.monotonic() + deadline
    for hierarchy in _hierarchies():
        top = hierarchy / name
        for folder, _, _ in os.walk(top, topdown=False):
            while True:
                try:
                    Path(folder).rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > limit:
                        raise ClusterError(f"can't remove the cgroup {folder}: {error}") from error
                    time.sleep(0.05)
