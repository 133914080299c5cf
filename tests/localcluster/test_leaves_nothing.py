"""A cluster that was taken down, or that crashed and was started again, leaves nothing behind."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from localcluster import host, processes
from localcluster.components import PAUSE_IMAGE
from tests.localcluster.support import TestCluster, machine, until


def gpu_pod(name: str) -> dict[str, Any]:
    container = {
        "name": "pause",
        "image": PAUSE_IMAGE,
        "imagePullPolicy": "Never",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def claim(name: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": spec,
    }


def gpus_seen(cluster: TestCluster) -> set[str]:
    """NVIDIA_VISIBLE_DEVICES of every process that has it."""
    found = set()
    for pid in cluster.members():
        try:
            environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= {e.partition("=")[2] for e in environment if e.startswith("NVIDIA_VISIBLE")}
    return found


def wait_ready(cluster: TestCluster, pod: str) -> None:
    until(f"pod {pod} ready", lambda: condition(cluster, pod, "Ready").get("status") == "True")


def condition(cluster: TestCluster, pod: str, kind: str) -> dict[str, Any]:
    conditions = cluster.get("pod", pod)["status"].get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def test_down_leaves_nothing(cluster: TestCluster) -> None:
    host.prepare_for_cluster()
    before = machine(cluster.name)
    cluster.up()
    launcher = processes.alive(cluster.layout.process_record)
    assert "is up" in cluster.up()
    assert processes.alive(cluster.layout.process_record) == launcher

    cluster.apply(gpu_pod("one"), gpu_pod("two"))
    wait_ready(cluster, "one")
    wait_ready(cluster, "two")
    assert gpus_seen(cluster) == {"GPU-0", "GPU-1"}
    cluster.apply(gpu_pod("three"))
    scheduled = until("the scheduler's word", lambda: condition(cluster, "three", "PodScheduled"))
    assert scheduled["reason"] == "Unschedulable"
    assert "nvidia.com/gpu" in scheduled["message"]

    cluster.apply(claim("data"))
    until("the claim bound", lambda: cluster.get("pvc", "data")["status"]["phase"] == "Bound")
    (folder,) = (cluster.layout.run / "volumes").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o777
    cluster.kubectl("delete", "pvc", "data")
    until("the volume's folder gone", lambda: not folder.exists())
    until("the volume gone", lambda: not cluster.get("pv")["items"])

    during, members = machine(cluster.name), cluster.members()
    assert {k for k in before if during[k] - before[k]} >= {"ip -o link", "ip route", "cgroups"}
    assert len(members) > 10
    cluster.command("down", "--purge")
    assert not {p for p, started in members.items() if processes.start_time(p) == started}
    assert not cluster.kubeconfig.exists()
    after = machine(cluster.name)
    assert {kind: after[kind] - before[kind] for kind in before} == {k: set() for k in before}
    assert {kind: before[kind] - after[kind] for kind in before} == {k: set() for k in before}


def test_start_that_was_killed(cluster: TestCluster) -> None:
    starting = cluster.start("up", "--kubeconfig", str(cluster.kubeconfig))
    log = cluster.layout.logs / "node.log"
    until(
        "the middle of the start",
        lambda: log.exists() and "waiting for the API server" in log.read_text(),
        seconds=900,
    )
    os.kill(processes.alive(cluster.layout.process_record)["launcher"], signal.SIGKILL)
    output, _ = starting.communicate(timeout=60)
    assert starting.returncode == 1
    assert "ended while starting" in output
    cluster.up()
    assert cluster.get("nodes")["items"]


def test_crash_with_pods(cluster: TestCluster) -> None:
    cluster.up()
    cluster.apply(gpu_pod("lost"))
    wait_ready(cluster, "lost")
    init = processes.alive(cluster.layout.process_record)["init"]
    os.kill(init, signal.SIGKILL)
    assert "starting it again" in cluster.up()
    assert not cluster.get("pods")["items"]
    cluster.apply(gpu_pod("next"))
    wait_ready(cluster, "next")


def test_programs_are_started_again(cluster: TestCluster) -> None:
    cluster.up()
    servers = [pid for pid in cluster.members() if "kube-apiserver" in _command(pid)]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    until("the API server back", lambda: "well" in _status(cluster))


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _status(cluster: TestCluster) -> str:
    process: subprocess.Popen[str] = cluster.start("status")
    return process.communicate(timeout=60)[0].partition(": ")[2]
