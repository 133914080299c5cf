"""Process 1 of the cluster's namespaces: mounts, network, then the programs, which it looks after.

`python -m localcluster.node launch …` records itself, then becomes `unshare`, whose child is
`python -m localcluster.node run …`. When either dies, the kernel ends every process in the
namespaces and takes the mounts, the bridge, the links and the firewall rules with it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from localcluster import cgroups, components
from localcluster.archive import write_image
from localcluster.components import Component
from localcluster.layout import NODE_NAME, Cluster
from localcluster.processes import record

_LINK_DEADLINE = 30.0
_READY_DEADLINE = 60.0
_RESTART_AFTER = 1.0
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def main() -> None:
    """Run as the launcher or as process 1 of the namespaces."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["launch", "run"])
    parser.add_argument("name")
    parser.add_argument("index", type=int)
    parser.add_argument("programs", type=Path)
    parser.add_argument("cni", type=Path)
    parser.add_argument("gpus", type=int)
    arguments = parser.parse_args()
    cluster = Cluster(arguments.name, arguments.index)
    if arguments.part == "launch":
        record(cluster.process_record, launcher=os.getpid())
        inner = [sys.executable, "-m", "localcluster.node", "run", *sys.argv[2:]]
        flags = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
        os.execvp("unshare", ["unshare", *flags, *inner])  # noqa: S606 - no shell is meant
    Node(cluster, arguments.programs, arguments.cni, arguments.gpus).run()


class Node:
    """The machine that the cluster believes it runs on."""

    def __init__(self, cluster: Cluster, programs: Path, cni: Path, gpus: int) -> None:
        self._cluster = cluster
        self._program = str(programs / "localkube")
        self._pause = programs / "pause"
        self._cni = cni
        self._gpus = gpus
        self._running: dict[int, tuple[Component, subprocess.Popen[bytes]]] = {}

    def run(self) -> None:
        """Start everything in order; then restart what ends."""
        cluster = self._cluster
        _say("mounts and network")
        self._mount()
        self._wait("the link to the host", self._has_link, _LINK_DEADLINE)
        bridge_filter = self._set_up_network()
        cgroups.create(cluster.cgroup)
        self._start(components.storage(cluster, self._program))
        self._make_keys()
        self._start(components.api_server(cluster, self._program))
        self._prepare_containerd()
        components.write_pod_network(cluster)
        self._start(components.containerd(cluster, self._cni, pods=True))
        self._wait("the API server", self._api_server_ready)
        self._kubectl("apply", "-f", "-", stdin=components.first_objects(cluster))
        for component in components.after_api_server(
            cluster, self._program, gpus=self._gpus, bridge_filter=bridge_filter
        ):
            self._start(component)
        _say("all programs started")
        while True:
            pid, status = os.waitpid(-1, 0)
            self._restart(pid, status)

    def _mount(self) -> None:
        """Give the programs folders of their own where they write to fixed places."""
        folder = self._cluster.folder
        _command("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        for place in ("/var/log", "/var/lib"):
            private = self._cluster.run / place[1:].replace("/", "-")
            private.mkdir()
            (private / "kubelet").mkdir()
            if folder.is_relative_to(place):  # stays reachable below the new folder
                again = private / folder.relative_to(place)
                again.mkdir(parents=True)
                _command("mount", "--bind", str(folder), str(again))
            _command("mount", "--rbind", str(private), place)

    def _has_link(self) -> bool:
        return "eth0:" in Path("/proc/net/dev").read_text()

    def _set_up_network(self) -> bool:
        """Address, route to services, forwarding. True if iptables sees bridged packets."""
        _command("ip", "link", "set", "lo", "up")
        _command("ip", "address", "add", f"{self._cluster.node_address}/30", "dev", "eth0")
        _command("ip", "link", "set", "eth0", "up")
        # Programs of the node reach services: any route does, the address is then rewritten.
        # There is no default route, so the outside world is refused at once and nothing hangs.
        _command("ip", "route", "add", self._cluster.service_cidr, "dev", "eth0")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        if _BRIDGE_FILTER.exists():
            _BRIDGE_FILTER.write_text("1")
        return _BRIDGE_FILTER.exists()

    def _make_keys(self) -> None:
        pki = self._cluster.run / "pki"
        pki.mkdir(mode=0o700)
        _command(
            self._program, "pki", "--dir", str(pki), "--cluster", self._cluster.name,
            "--node", NODE_NAME, "--address", self._cluster.node_address,
            "--service", self._cluster.api_service,
        )  # fmt: skip

    def _prepare_containerd(self) -> None:
        """Load the image of the pods' first process; remove containers that a crash left.

        Without containerd's Kubernetes part: it would hold on to the old containers.
        """
        stores = components.containerd(self._cluster, self._cni, pods=False)
        process = self._start(stores)
        ctr = ["ctr", "--address", str(self._cluster.containerd_socket), "--namespace", "k8s.io"]
        self._wait("containerd", lambda: _succeeds([*ctr, "containers", "list", "--quiet"]))
        for container in _command(*ctr, "containers", "list", "--quiet").split():
            _command(*ctr, "containers", "remove", container)
        archive = self._cluster.run / "pause.tar"
        write_image(archive, components.PAUSE_IMAGE, self._pause)
        _command(*ctr, "images", "import", str(archive))
        del self._running[process.pid]
        process.terminate()
        process.wait()

    def _api_server_ready(self) -> bool:
        return _succeeds(self._kubectl_command("get", "--raw", "/readyz"))

    def _kubectl(self, *arguments: str, stdin: str) -> None:
        _command(*self._kubectl_command(*arguments), stdin=stdin)

    def _kubectl_command(self, *arguments: str) -> list[str]:
        kubeconfig = f"--kubeconfig={self._cluster.admin_kubeconfig}"
        return [self._program, "kubectl", kubeconfig, *arguments]

    def _start(self, component: Component) -> subprocess.Popen[bytes]:
        with (self._cluster.logs / f"{component.name}.log").open("ab") as log:
            process = subprocess.Popen(
                component.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        self._running[process.pid] = (component, process)
        return process

    def _restart(self, pid: int, status: int) -> None:
        """Start the component again that had this pid; orphans of pods are only reaped."""
        if pid not in self._running:
            return
        component, process = self._running.pop(pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        _say(f"{component.name} ended with {process.returncode}; starting it again")
        time.sleep(_RESTART_AFTER)
        self._start(component)

    def _wait(
        self, what: str, ready: Callable[[], bool], deadline: float = _READY_DEADLINE
    ) -> None:
        _say(f"waiting for {what}")
        end = time.monotonic() + deadline
        while not ready():
            for component, process in self._running.values():
                if process.poll() is not None:
                    sys.exit(
                        f"{component.name} ended with {process.returncode}: "
                        f"see {self._cluster.logs}/{component.name}.log"
                    )
            if time.monotonic() > end:
                sys.exit(f"{what} not there after {deadline:.0f} s: see {self._cluster.logs}")
            time.sleep(0.1)


def _succeeds(arguments: list[str]) -> bool:
    done = subprocess.run(arguments, capture_output=True, check=False)
    return done.returncode == 0


def _command(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:6])} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    main()
