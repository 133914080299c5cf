"""What a process is called where several compete: the same as the one before it, if that is dead.

A process that was killed left its Lease behind. Whoever is sure to come after it, in its place,
needn't wait until the Lease expires: a file that one process at a time can lock has the name. It is
in the container's temporary folder, where other containers and pods don't see it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_SUFFIX = re.compile(r"[0-9a-f]{16}")


@contextmanager
def identity(name: str, directory: Path | None = None) -> Iterator[str]:
    """A name that no other process has in the block, `<host>_<hex>`.

    The next process that asks with the same `name` in the same folder gets the same, once this one
    has ended. While it has not, or where there can be no file, the name is a new one.
    """
    suffix = secrets.token_hex(8)
    path = (directory or Path(tempfile.gettempdir())) / f"{name}.identity"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.info("%s: %s; a restart of this process waits for its lease", path, error)
        yield _name(suffix)
        return
    try:
        yield _name(_kept(descriptor, suffix))
    finally:
        os.close(descriptor)  # and so unlocks it


def _kept(descriptor: int, new: str) -> str:
    """The suffix in the file, if it can be locked; `new`, which it then has, where it has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return new
    found = os.pread(descriptor, 64, 0).decode("ascii", "replace")
    if os.fstat(descriptor).st_uid == os.geteuid() and _SUFFIX.fullmatch(found):
        return found
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, new.encode(), 0)
    return new


def _name(suffix: str) -> str:
    return f"{socket.gethostname()}_{suffix}"
