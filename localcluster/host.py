"""What this machine must have before a cluster or an image can be made, and how it gets it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from localcluster.console import logged, say
from localcluster.layout import ClusterError, cache_folder

# Command → Debian package that has it.
CLUSTER_COMMANDS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
}
IMAGE_COMMANDS = {"buildah": "buildah"}
BASE_COMMANDS = {"mmdebstrap": "mmdebstrap"}
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")


def prepare_for_cluster() -> None:
    """Root, the commands and the namespaces that a cluster needs; installs what is missing."""
    require_root("a cluster needs namespaces, mounts and cgroups")
    missing = _missing(CLUSTER_COMMANDS)
    if cni_folder() is None:
        missing.add("containernetworking-plugins")
    install(missing)
    flags = ["--mount", "--net", "--pid", "--fork"]
    test = subprocess.run(["unshare", *flags, "true"], capture_output=True, text=True, check=False)
    if test.returncode:
        raise ClusterError(
            f"this machine does not allow new namespaces: {test.stderr.strip()}\n"
            "In a container, start it with --privileged; or use a cluster that you have."
        )


def require_root(why: str) -> None:
    """Raise ClusterError unless root."""
    if os.geteuid() != 0:
        raise ClusterError(
            f"{why}, so this must run as root: use sudo, or point KUBECONFIG at a cluster "
            "that you have (kind, k3d, minikube or your own)"
        )


def cni_folder() -> Path | None:
    """Where the standard network plugins are, if all of them are there."""
    for folder in _CNI_FOLDERS:
        if all((folder / plugin).exists() for plugin in _CNI_PLUGINS):
            return folder
    return None


def prepare_for_images() -> None:
    """The commands that build images; installs what is missing."""
    require_root("images are built with chroot")
    install(_missing(IMAGE_COMMANDS))


def prepare_for_base() -> None:
    """The command that makes a base image of Debian packages; installs it if missing."""
    install(_missing(BASE_COMMANDS))


def _missing(commands: dict[str, str]) -> set[str]:
    return {package for name, package in commands.items() if shutil.which(name) is None}


def install(packages: set[str]) -> None:
    """Install Debian packages, those only; raise ClusterError where that can't be done."""
    if not packages:
        return
    names = sorted(packages)
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing: {', '.join(names)} (names of the Debian packages). There is no apt-get "
            "here: install them with this system's package manager and run this again."
        )
    say(f"installing Debian packages: {' '.join(names)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install_command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    hint = f"Install by hand: apt-get update && apt-get install {' '.join(names)}"
    log = cache_folder() / "apt.log"
    try:
        logged(install_command, log, hint, env=environment)
    except ClusterError:  # the lists may be missing or old
        logged(["apt-get", "update"], log, hint, env=environment)
        logged(install_command, log, hint, env=environment)
