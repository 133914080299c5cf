"""Starting, finding and ending a cluster from the host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localcluster import cgroups, host, processes
from localcluster.console import command, say, tail, warn
from localcluster.layout import PROJECT, STATE, Cluster, ClusterError, find_cluster
from localcluster.program import program_folder

_UP_DEADLINE = 120.0
_PATIENCE = 30.0
_MARK = b"# Written by localcluster; `down` removes it.\n"
_API_SERVICE = "kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Started:
    """How a cluster was started, kept beside it."""

    gpus: int
    programs: Path
    kubeconfigs: list[Path]

    def save(self, cluster: Cluster) -> None:
        """Write it down."""
        text = json.dumps({
            "gpus": self.gpus, "programs": str(self.programs),
            "kubeconfigs": [str(p) for p in self.kubeconfigs],
        })  # fmt: skip
        (cluster.run / "started.json").write_text(text)

    @classmethod
    def of(cls, cluster: Cluster) -> Started | None:
        """Of a cluster that was started; None if it was not."""
        try:
            found = json.loads((cluster.run / "started.json").read_text())
        except FileNotFoundError:
            return None
        kubeconfigs = [Path(p) for p in found["kubeconfigs"]]
        return cls(found["gpus"], Path(found["programs"]), kubeconfigs)


def up(name: str, gpus: int, kubeconfig: Path) -> Cluster:
    """Make sure that the cluster runs and that the kubeconfig reaches it."""
    host.prepare_for_cluster()
    with _locked(name) as cluster:
        started = Started.of(cluster)
        if started and not (why := _unhealthy_for_long(cluster)):
            if started.gpus != gpus:
                raise ClusterError(
                    f"cluster {name} runs with {started.gpus} GPUs, not {gpus}: "
                    "take it down first (make cluster-down)"
                )
            say(f"cluster {name} is up")
        else:
            if started:
                say(f"cluster {name} is not well ({why}): starting it again")
            _remove_run(cluster)
            built = program_folder()
            # a copy of its own: the cache may be cleared while the cluster runs
            started = Started(gpus, cluster.run / "programs", [])
            shutil.copytree(built, started.programs)
            _start(cluster, started)
        _write_kubeconfig(cluster, started, kubeconfig)
    return cluster


def down(name: str, *, purge: bool) -> None:
    """End the cluster; with `purge` forget its images and addresses too."""
    host.require_root("a cluster belongs to root")
    with _locked(name) as cluster:
        was_running = _remove_run(cluster)
        say(f"cluster {name} is down" if was_running else f"cluster {name} was not running")
        if purge or not cluster.images.exists():
            shutil.rmtree(cluster.folder)
    if not any(STATE.iterdir()):
        STATE.rmdir()


def _unhealthy_for_long(cluster: Cluster) -> str | None:
    """As `unhealthy`, with patience while it runs: starting it again would lose what is on it."""
    limit = time.monotonic() + _PATIENCE
    while (why := _not_yet(cluster)) and processes.alive(cluster.process_record):
        if time.monotonic() > limit:
            break
        time.sleep(0.5)
    return why


def unhealthy(cluster: Cluster) -> str | None:
    """What keeps a cluster from being usable; None if nothing does."""
    if len(processes.alive(cluster.process_record)) < 2:
        return "it does not run"
    started = Started.of(cluster)
    if started is None:
        return "it was never started to the end"
    try:
        node = json.loads(_get(cluster, started, "/api/v1/nodes"))["items"]
        accounts = json.loads(_get(cluster, started, "/api/v1/namespaces/default/serviceaccounts"))[
            "items"
        ]
    except ClusterError as error:
        return str(error)
    if not node:
        return "the node has not joined yet"
    if not accounts:
        return "the controllers have not started yet"
    status = node[0]["status"]
    ready = {c["type"]: c["status"] for c in status["conditions"]}.get("Ready")
    if ready != "True":
        return "the node is not ready"
    offered = status.get("allocatable", {}).get("nvidia.com/gpu", "0")
    if offered != str(started.gpus):
        return f"the node offers {offered} of {started.gpus} GPUs"
    return None if _names_resolve(cluster) else "its name server does not answer"


def _get(cluster: Cluster, started: Started, path: str) -> str:
    """What the API server has at a path."""
    access = f"--kubeconfig={cluster.admin_kubeconfig}"
    program = started.programs / "localkube"
    return command(program, "kubectl", access, "get", "--raw", path, "--request-timeout=5s")


def _names_resolve(cluster: Cluster) -> bool:
    """Ask the name server for the API server's service, over the route to services."""
    name = b"".join(bytes([len(part)]) + part for part in _API_SERVICE.encode().split(b"."))
    query = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + name + struct.pack(">B2H", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        try:
            client.sendto(query, (cluster.dns, 53))
            answer = client.recv(512)
        except OSError:
            return False
    _, flags, _, answers = struct.unpack(">4H", answer[:8])
    return bool(flags & 0xF == 0 and answers)


def _start(cluster: Cluster, started: Started) -> None:
    say(f"starting cluster {cluster.name} on {cluster.node_address}")
    cluster.images.mkdir(parents=True, exist_ok=True)
    cluster.logs.mkdir(parents=True)
    (cluster.run / "volumes").mkdir(mode=0o711)
    started.save(cluster)
    cni = host.cni_folder()
    with (cluster.logs / "node.log").open("wb") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "localcluster.node", "launch", cluster.name,
             str(cluster.index), str(started.programs), str(cni), str(started.gpus)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            cwd=PROJECT, env=_clean_environment(),
        )  # fmt: skip
    limit = time.monotonic() + _UP_DEADLINE
    while (init := processes.child_of(launcher.pid)) is None:
        _check(cluster, launcher, limit)
    processes.record(cluster.process_record, init=init)
    _attach(cluster, init)
    shown, last = 0, ""
    while why := _not_yet(cluster):
        _check(cluster, launcher, limit, why)
        lines = (cluster.logs / "node.log").read_text().splitlines()
        for line in lines[shown:]:
            say(line.partition(" ")[2])
        if len(lines) == shown and why != last:
            say(f"not yet: {why}")
            last = why
        shown = len(lines)
    say("the node is ready")


def _not_yet(cluster: Cluster) -> str | None:
    if not cluster.admin_kubeconfig.exists():
        return "it has no keys yet"
    return unhealthy(cluster)


def _check(
    cluster: Cluster, launcher: subprocess.Popen[bytes], limit: float, why: str = ""
) -> None:
    """Raise ClusterError if the start failed or takes too long; else wait a moment."""
    log = cluster.logs / "node.log"
    if launcher.poll() is not None:
        raise ClusterError(f"the cluster ended while starting:\n{tail(log)}\nLogs: {cluster.logs}")
    if time.monotonic() > limit:
        raise ClusterError(f"not ready after {_UP_DEADLINE:.0f} s: {why}\nLogs: {cluster.logs}")
    time.sleep(0.1)


def _attach(cluster: Cluster, init: int) -> None:
    """Link host and node. Address and routes vanish with the link, the link with the node."""
    link = cluster.link
    hint = "Is something else using these addresses? `ip route` tells; `down` and `up` again."
    command("ip", "link", "add", link, "type", "veth", "peer", "eth0", "netns", str(init))
    command("ip", "address", "add", f"{cluster.host_address}/30", "dev", link, hint=hint)
    command("ip", "link", "set", link, "up")
    for addresses in (cluster.pod_cidr, cluster.service_cidr):
        command("ip", "route", "add", addresses, "via", cluster.node_address, hint=hint)


def _remove_run(cluster: Cluster) -> bool:
    """Remove everything of the last start, however it ended; True if it still ran."""
    ran = processes.end(cluster.process_record)
    if Path(f"/sys/class/net/{cluster.link}").exists():
        command("ip", "link", "delete", cluster.link)
    cgroups.remove(cluster.cgroup)
    started = Started.of(cluster)
    for kubeconfig in started.kubeconfigs if started else []:
        _remove_kubeconfig(cluster, kubeconfig)
    if cluster.run.exists():
        shutil.rmtree(cluster.run)
    return ran


def _write_kubeconfig(cluster: Cluster, started: Started, path: Path) -> None:
    """Copy the administrator's access to where the person wants it, and kubectl beside it."""
    path = path.absolute()
    if path.exists() and not path.read_bytes().startswith(_MARK):
        raise ClusterError(f"{path} has other contents: name another file with --kubeconfig")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(_MARK + cluster.admin_kubeconfig.read_bytes())
    unfinished.rename(path)
    script = path.parent / "kubectl"
    script.write_text(
        "#!/bin/sh\n"
        f'export KUBECONFIG="${{KUBECONFIG:-{path}}}"\n'
        f'exec "{started.programs}/localkube" kubectl "$@"\n'
    )
    script.chmod(0o755)
    if path not in started.kubeconfigs:
        Started(started.gpus, started.programs, [*started.kubeconfigs, path]).save(cluster)
    say(f"access: export KUBECONFIG={path} (kubectl, if you have none: {script})")


def _remove_kubeconfig(cluster: Cluster, path: Path) -> None:
    """Remove a copy of the access, unless it was replaced by another cluster's."""
    if not path.exists():
        return
    if not cluster.admin_kubeconfig.exists():
        warn(f"{path} is left: whose it is can't be told")
    elif path.read_bytes() == _MARK + cluster.admin_kubeconfig.read_bytes():
        path.unlink()
        (path.parent / "kubectl").unlink(missing_ok=True)
        if PROJECT / ".cluster" in path.parents and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _clean_environment() -> dict[str, str]:
    """No proxies, credentials or Python settings of the terminal inside the cluster."""
    return {
        "PATH": f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
    }


@contextlib.contextmanager
def _locked(name: str) -> Iterator[Cluster]:
    """The cluster, for this command alone; a new one gets its addresses here."""
    with processes.one_at_a_time(STATE.parent, "choosing addresses"):
        cluster = find_cluster(name)
        cluster.folder.mkdir(parents=True, exist_ok=True)
        (cluster.folder / "index").write_text(str(cluster.index))
    with processes.one_at_a_time(cluster.folder, f"at work on cluster {name}"):
        if not (cluster.folder / "index").exists():
            raise ClusterError(f"cluster {name} was removed by another command: run this again")
        yield cluster
