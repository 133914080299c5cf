"""Builds the images whose inputs changed and loads them into the cluster.

An image is named by the hash of what goes into it. Its archive is kept in the cache under that
name, and the cluster's containerd notes the hash as a label, so that nothing is done twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from localcluster import base, host, processes, pruning
from localcluster.build_settings import build_secrets
from localcluster.console import command, logged, say
from localcluster.layout import PROJECT, Cluster, ClusterError, cache_folder

_PROJECT_FILES = (
    "requirements/build.txt", "pyproject.toml", "README.md", "LICENSE", "elastic_spawner",
    "hub_service",
)  # fmt: skip
# What an image is made of, beside its Containerfile and the base.
INPUTS: dict[str, tuple[str, ...]] = {
    "proxy": (
        "requirements/proxy.txt", "images/proxy/package.json", "images/proxy/package-lock.json",
    ),
    "kernel": ("requirements/kernel.txt", "images/kernel/elastic_session.py"),
    "kernel-r": (),
    "notebook": ("requirements/notebook.txt", "images/notebook/overrides.json"),
    "gateway": ("requirements/gateway.txt", *_PROJECT_FILES),
    "job": ("requirements/job.txt", *_PROJECT_FILES),
    "hub": ("requirements/hub.txt", *_PROJECT_FILES),
}  # fmt: skip
_LABEL = "elastic-kernels/inputs"
_BASE = "localhost/elastic-base"


@dataclass(frozen=True)
class Naming:
    """How images are called: `<registry>/<image>:<tag>`."""

    registry: str
    tag: str

    def name(self, image: str) -> str:
        """The full name of an image."""
        return f"{self.registry}/{image}:{self.tag}"


def images(
    names: list[str], naming: Naming, base_image: str, cluster: Cluster, *, push: bool
) -> None:
    """Build what changed, load it into the cluster if it runs, and push it if asked to."""
    host.prepare_for_images()
    with processes.one_at_a_time(cache_folder() / "images", "building images"):
        _images(names, naming, base_image, cluster, push=push)


def _images(
    names: list[str], naming: Naming, base_image: str, cluster: Cluster, *, push: bool
) -> None:
    base_digest = _build_base(base_image)
    running = bool(processes.alive(cluster.process_record))
    for image in names:
        name = naming.name(image)
        digest = _digest(image, name, base_digest)
        archive = _build(image, name, digest, base_digest)
        if running:
            _load_unless_there(cluster, archive, name, digest)
        if push:
            say(f"pushing {name}")
            log = cache_folder() / "images" / f"push-{image}.log"
            hint = f"Is this machine logged in? buildah login {naming.registry.partition('/')[0]}"
            logged([*_buildah(), "push", name, f"docker://{name}"], log, hint)
    pruning.prune_store(_buildah(), repository=_BASE, tag=base_digest)
    if running:
        pruning.prune_cluster(_ctr_command(cluster))
    else:
        say(f"cluster {cluster.name} does not run: `make images` loads them once it does")


def load(archive: Path, cluster: Cluster) -> list[str]:
    """Load an image archive (OCI or Docker) into the cluster; the names of its images."""
    if not processes.alive(cluster.process_record):
        raise ClusterError(f"cluster {cluster.name} does not run: start it with `make cluster`")
    output = _ctr(cluster, "import", str(archive))
    return re.findall(r"^unpacking (\S+) ", output, flags=re.MULTILINE)


def _load_unless_there(cluster: Cluster, archive: Path, name: str, digest: str) -> None:
    label = f"{_LABEL}={digest}"
    for line in _ctr(cluster, "list").splitlines()[1:]:
        # containerd puts its default registry before names that have none
        loaded = line.split()[0]
        if label in line and (loaded == name or loaded.endswith(f"/{name}")):
            say(f"{name}: already in the cluster")
            return
    for loaded in load(archive, cluster):
        _ctr(cluster, "label", loaded, label)
    say(f"{name}: loaded")


def _ctr(cluster: Cluster, *arguments: str) -> str:
    return command(*_ctr_command(cluster), *arguments)


def _ctr_command(cluster: Cluster) -> list[str]:
    socket = str(cluster.containerd_socket)
    return ["ctr", "--address", socket, "--namespace", "k8s.io", "images"]


def _build_base(base_image: str) -> str:
    """Build the image that the others start from; its digest."""
    containerfile = PROJECT / "images" / "base" / "Containerfile"
    source = base.choose(base_image, _buildah())
    digest = _hash(source.digest, containerfile.read_text())
    if not _in_store(_base_name(digest)):
        say(f"building the base of all images from {source.name}")
        _run_build(containerfile, _base_name(digest), "base", {"BASE_IMAGE": source.name})
    return digest


def _base_name(digest: str) -> str:
    return f"{_BASE}:{digest}"


def _build(image: str, name: str, digest: str, base_digest: str) -> Path:
    folder = cache_folder() / "images"
    archive = folder / f"{image}-{digest}.tar"
    if archive.exists() and _in_store(name):
        say(f"{name}: unchanged")
        return archive
    say(f"{name}: building")
    containerfile = PROJECT / "images" / image / "Containerfile"
    _run_build(containerfile, name, image, {"BASE": _base_name(base_digest)})
    unfinished = folder / f"{image}.{os.getpid()}"
    command(*_buildah(), "push", "--quiet", name, f"docker-archive:{unfinished}:{name}")
    for old in folder.glob(f"{image}-*.tar"):
        old.unlink()
    unfinished.rename(archive)
    return archive


def _run_build(containerfile: Path, name: str, image: str, arguments: dict[str, str]) -> None:
    log = cache_folder() / "images" / f"{image}.log"
    options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    with build_secrets() as secrets:
        logged(
            [*_buildah(), "build", "--isolation=chroot", "--layers", *options, *secrets,
             f"--tag={name}", f"--file={containerfile}", PROJECT],
            log,
            "Packages come from the indexes that pip, npm and apt use: are they reachable?",
        )  # fmt: skip


def _buildah() -> list[str]:
    """Buildah with a store of its own in the cache."""
    store = cache_folder() / "images" / "store"
    return ["buildah", f"--root={store}", f"--runroot={store}-run"]


def _in_store(name: str) -> bool:
    arguments = [*_buildah(), "inspect", "--type=image", "--format={{.FromImageID}}", name]
    return subprocess.run(arguments, capture_output=True, check=False).returncode == 0


def _digest(image: str, name: str, base_digest: str) -> str:
    parts = [name, base_digest]
    for entry in (f"images/{image}/Containerfile", *INPUTS[image]):
        path = PROJECT / entry
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if not files:
            raise ClusterError(f"image {image}: its input {entry} is missing or empty")
        for file in files:
            if "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                parts.append(f"{file.relative_to(PROJECT)} {content}")
    return _hash(*parts)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
