"""Processes of the local cluster, found from the host by their cgroup and PID namespace."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from localcluster import processes
from localcluster.layout import Cluster, ClusterError

_PROC = Path("/proc")


class Node:
    """The machine that a local cluster believes it runs on."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        init = processes.alive(cluster.process_record).get("init")
        if init is None:
            raise ClusterError(f"cluster {cluster.name} does not run")
        self.init = init
        self._namespace = os.readlink(_PROC / str(init) / "ns/pid")

    def component(self, *words: str) -> int:
        """The process of the node itself whose command line begins so, paths left out."""
        found = [
            pid
            for pid in _pids()
            if _command(pid)[: len(words)] == list(words) and self._is_on_node(pid)
        ]
        return _one(found, " ".join(words))

    def in_pods(self, name: str) -> list[int]:
        """The processes of all pods with that program or module in their command line."""
        return [
            pid
            for pid in self._of_pod("")
            if any(word.rpartition("/")[2] == name for word in _command(pid))
        ]

    def shim(self, uid: str) -> int:
        """The containerd-shim that holds a pod."""
        parents = {_parent(pid) for pid in self._of_pod(uid)}
        found = [pid for pid in parents if "containerd-shim" in " ".join(_command(pid)[:1])]
        return _one(found, f"containerd-shim of the pod {uid}")

    def kill(self, pid: int, number: signal.Signals) -> None:
        """Send a signal, to a process that was found here only."""
        os.kill(pid, number)

    def _of_pod(self, uid: str) -> list[int]:
        return [
            pid
            for pid in _pids()
            if f"/{self._cluster.cgroup}/" in (text := _read(pid, "cgroup")) and f"pod{uid}" in text
        ]

    def _is_on_node(self, pid: int) -> bool:
        try:
            return os.readlink(_PROC / str(pid) / "ns/pid") == self._namespace
        except OSError:
            return False


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""


def _command(pid: int) -> list[str]:
    words = _read(pid, "cmdline").rstrip("\0").split("\0")
    return [words[0].rpartition("/")[2], *words[1:]]


def _parent(pid: int) -> int:
    stat = _read(pid, "stat")
    return int(stat.rpartition(")")[2].split()[1]) if stat else 0


def _one(found: list[int], what: str) -> int:
    if len(found) != 1:
        raise ProcessLookupError(f"{what}: one process expected, found {found}")
    return found[0]
