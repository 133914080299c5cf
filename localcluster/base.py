"""The image below all images: one that a registry has, or one made here of Debian packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from localcluster import host
from localcluster.console import command, logged, say
from localcluster.layout import ClusterError, cache_folder

AUTOMATIC = "auto"
LOCAL = "local"
DEFAULT_IMAGE = "python:3.11-slim-bookworm"
_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,ca-certificates,tini"
_PULL_DEADLINE = 60
_OPTIONS = [
    "--mode=root", "--variant=apt", f"--include={_PACKAGES}",
    "--aptopt=Apt::Install-Recommends \"false\"",
    "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
]  # fmt: skip


@dataclass(frozen=True)
class Base:
    """An image in buildah's store and what identifies its content."""

    name: str
    digest: str


def choose(base_image: str, buildah: list[str]) -> Base:
    """The base to use: `auto`, `local`, or the name of an image.

    `auto` takes the default image if a registry has it, else makes one; a base that was made
    here once is kept, so that a network that comes and goes does not rebuild everything.
    """
    if base_image == AUTOMATIC and not _archive().exists():
        if _pull(DEFAULT_IMAGE, buildah) is None:
            return _pulled(DEFAULT_IMAGE, buildah)
        say(f"no registry has {DEFAULT_IMAGE} for this machine: making a base of Debian packages")
    if base_image in (AUTOMATIC, LOCAL):
        return _make(buildah)
    if why := _pull(base_image, buildah):
        raise ClusterError(
            f"base image {base_image}: {why}\n"
            "Name one that this machine can fetch (make images BASE_IMAGE=…), or BASE_IMAGE=local "
            "to make one of Debian packages."
        )
    return _pulled(base_image, buildah)


def _pull(image: str, buildah: list[str]) -> str | None:
    """Fetch an image unless it is here; what is wrong, if anything."""
    try:
        done = subprocess.run(
            [*buildah, "pull", "--quiet", "--policy=missing", image],
            capture_output=True, text=True, check=False, timeout=_PULL_DEADLINE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not fetched within {_PULL_DEADLINE} s"
    return (done.stderr.strip() or "can't be fetched") if done.returncode else None


def _pulled(image: str, buildah: list[str]) -> Base:
    found = command(*buildah, "inspect", "--type=image", "--format={{.FromImageDigest}}", image)
    return Base(image, found.strip())


def _archive() -> Path:
    digest = hashlib.sha256(" ".join([_SUITE, *_OPTIONS]).encode()).hexdigest()[:16]
    return cache_folder() / "images" / f"base-{digest}.tar"


def _make(buildah: list[str]) -> Base:
    archive = _archive()
    name = f"localhost/elastic-debian:{archive.stem.removeprefix('base-')}"
    if not archive.exists():
        host.prepare_for_base()
        say("making a base image of Debian packages (half a minute)")
        unfinished = archive.with_name(f"base.{os.getpid()}.tar")
        mirror = os.environ.get("DEBIAN_MIRROR")
        logged(
            ["mmdebstrap", *_OPTIONS, _SUITE, unfinished, *([mirror] if mirror else [])],
            archive.with_suffix(".log"),
            "Debian's packages come from its usual mirror, or from DEBIAN_MIRROR=<address> if "
            "you set that.",
        )
        for old in archive.parent.glob("base-*.tar"):
            old.unlink()
        unfinished.rename(archive)
    listed = subprocess.run(
        [*buildah, "inspect", "--type=image", name], capture_output=True, check=False
    )
    if listed.returncode:
        _import(archive, name, buildah)
    return Base(name, archive.stem)


def _import(archive: Path, name: str, buildah: list[str]) -> None:
    context = archive.with_suffix(".context")
    context.mkdir(exist_ok=True)
    os.link(archive, context / "base.tar")
    try:
        text = "FROM scratch\nADD base.tar /\n"
        (context / "Containerfile").write_text(text)
        command(*buildah, "build", "--isolation=chroot", f"--tag={name}", context)
    finally:
        shutil.rmtree(context)
