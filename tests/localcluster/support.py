"""Drives the cluster by its command line and looks at what it leaves on the machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from localcluster import processes
from localcluster.layout import PROJECT, STATE, Cluster, cache_folder, find_cluster

CGROUPS = Path("/sys/fs/cgroup")


def until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for a condition and return its first true value; fail the test at the deadline."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)
    return value


@dataclass(frozen=True)
class TestCluster:
    """The command line for one cluster."""

    __test__: ClassVar[bool] = False
    name: str
    kubeconfig: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of the cluster without waiting for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "localcluster", arguments[0], "--name", self.name,
             *arguments[1:]],
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def command(self, *arguments: str) -> str:
        """Run a command of the cluster; what it printed."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        return output

    def up(self) -> str:
        return self.command("up", "--kubeconfig", str(self.kubeconfig))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [self.kubeconfig.parent / "kubectl", *arguments],
            input=stdin, capture_output=True, text=True, check=False,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    @property
    def layout(self) -> Cluster:
        return find_cluster(self.name)

    def members(self) -> dict[int, str]:
        """Host's process ids and start times of everything in the cluster."""
        running = processes.alive(self.layout.process_record)
        found: dict[int, str] = {}
        waiting = list(running.values())
        while waiting:
            pid = waiting.pop()
            started = processes.start_time(pid)
            if started is not None:
                found[pid] = started
                waiting += _children(pid)
        return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def machine(name: str) -> dict[str, set[str]]:
    """What the cluster of that name could leave behind; without other clusters' and builds'."""
    others = [find_cluster(p.parent.name) for p in STATE.glob("*/index") if p.parent.name != name]
    links, foreign = {c.link for c in others}, {c.cgroup for c in others}
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    state = {
        "mounts": {m.split()[4] for m in mounts if str(cache_folder()) not in m},
        "files": {str(p) for p in (*Path("/run").glob("*"), *Path("/var/lib").glob("*"))},
        "ip_forward": {Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()},
        "cgroups": {
            folder for folder, _, _ in os.walk(CGROUPS) if not foreign & set(folder.split("/"))
        },
    }
    commands = ["ip -o link", "ip route", "ip netns", "iptables-save", "ip6tables-save"]
    for command in commands:
        lines = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
        # rules come with counters and times, links with their state
        state[command] = {
            line.split(" state ")[0].split(" [")[0]
            for line in lines.splitlines()
            if not line.startswith("#")
            and not any(word.rstrip(":").split("@")[0] in links for word in line.split())
        }
    return state
