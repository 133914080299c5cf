"""Names, addresses and folders of a cluster: everything that two clusters must not share."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PROGRAMS = PROJECT / "localcluster" / "programs"
STATE = Path("/var/lib/elastic-kernels")
DEFAULT_NAME = "elastic"
NODE_NAME = "node"
CLUSTERS_AT_MOST = 16


class ClusterError(Exception):
    """Something that the person at the terminal can put right; the message says how."""


def cache_folder() -> Path:
    """Where built parts are kept between checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "elastic-kernels"


@dataclass(frozen=True)
class Cluster:
    """One cluster: `index` picks its share of 198.18.0.0/15, which is set aside for benchmarks.

    Pods have 198.18.<16 * index>.0/20, services 198.19.<index>.0/24, and the link between the
    host and the node is 198.19.255.<4 * index>/30: host .1, node .2.
    """

    name: str
    index: int

    @property
    def pod_cidr(self) -> str:
        """Addresses of pods."""
        return f"198.18.{16 * self.index}.0/20"

    @property
    def service_cidr(self) -> str:
        """Addresses of services."""
        return f"198.19.{self.index}.0/24"

    @property
    def api_service(self) -> str:
        """Address of the service `kubernetes.default`: always the first one."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def dns(self) -> str:
        """Address of the cluster's name server."""
        return str(ipaddress.ip_network(self.service_cidr)[10])

    @property
    def host_address(self) -> str:
        """The host's end of the link."""
        return f"198.19.255.{4 * self.index + 1}"

    @property
    def node_address(self) -> str:
        """The node's end of the link, where the API server and NodePorts listen."""
        return f"198.19.255.{4 * self.index + 2}"

    @property
    def link(self) -> str:
        """The host's network interface towards the node."""
        return f"elastic{self.index}"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds the pods, below the root of every hierarchy."""
        return f"elastic-kernels-{self.name}"

    @property
    def folder(self) -> Path:
        """Everything that this cluster keeps on disk."""
        return STATE / self.name

    @property
    def images(self) -> Path:
        """Containerd's store: kept by `down`, so that images need not be loaded again."""
        return self.folder / "containerd"

    @property
    def run(self) -> Path:
        """What belongs to one start and is removed by `down`: keys, etcd, volumes, logs."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """One log file a program."""
        return self.run / "logs"

    @property
    def process_record(self) -> Path:
        """Which processes to end, and when they started."""
        return self.run / "process.json"

    @property
    def containerd_socket(self) -> Path:
        """Reachable from the host too, for loading images."""
        return self.run / "containerd.sock"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's access; `up` copies it to where the person asked for it."""
        return self.run / "pki" / "admin.kubeconfig"


def find_cluster(name: str) -> Cluster:
    """The cluster of that name, with the index it has or the first free one.

    Raises ClusterError for a name that can't be one, or when all address blocks are taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,29}", name):
        raise ClusterError(
            f"cluster name {name!r}: use 1 to 30 lower-case letters, digits and dashes, "
            "starting with a letter"
        )
    taken: dict[str, int] = {}
    for path in STATE.glob("*/index"):
        taken[path.parent.name] = int(path.read_text())
    if name in taken:
        return Cluster(name, taken[name])
    if name == DEFAULT_NAME:
        return Cluster(name, 0)
    free = [i for i in range(1, CLUSTERS_AT_MOST) if i not in taken.values()]
    if not free:
        raise ClusterError(
            f"all {CLUSTERS_AT_MOST} address blocks are taken by {', '.join(sorted(taken))}: "
            "remove one with `python3 -m localcluster down --purge --name NAME`"
        )
    return Cluster(name, free[0])
