"""Forgets images that no tag names any more, so that they don't fill the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from localcluster.console import command

# Seconds. What a build left behind without a tag is not used again after that: a younger one may
# be a stage that the next build begins with.
_AGE = 86400


def prune_store(buildah: list[str], *, repository: str, tag: str) -> None:
    """Remove from buildah's store the repository's other tags, and old images without any."""
    every = _listed(buildah, "--all")
    names = {name for image in every for name in image.get("names") or []}
    of_it = {name for name in names if name.startswith(f"{repository}:")}
    other = sorted(of_it - {f"{repository}:{tag}"})
    if other:
        command(*buildah, "rmi", *other)
    before = time.time() - _AGE
    untagged = _listed(buildah, "--all", "--filter=dangling=true")
    for image in untagged:
        if image["created"] < before:
            command(*buildah, "rmi", image["id"])  # its own layers go with it


def prune_cluster(ctr: list[str]) -> None:
    """Remove from containerd what was loaded under a name that is another image's by now."""
    for reference in superseded(command(*ctr, "list").splitlines()[1:]):
        command(*ctr, "remove", reference)


def superseded(lines: Iterable[str]) -> list[str]:
    """Of `ctr images list`, the images that only their own hash names."""
    rows = [line.split()[:3] for line in lines]
    named = {digest for reference, _, digest in rows if not _is_hash(reference)}
    return [reference for reference, _, digest in rows if digest not in named]


def _is_hash(reference: str) -> bool:
    # The kubelet's image service names each image by its hash too; a pull by digest says so after
    # an @, and stays.
    return reference.startswith("sha256:")


def _listed(buildah: list[str], *options: str) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] | None = json.loads(
        command(*buildah, "images", "--json", *options)
    )
    return images or []
