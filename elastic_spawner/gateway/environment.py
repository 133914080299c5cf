"""Which `KERNEL_*` variables of a notebook server reach its kernel. Pure.

jupyter_server forwards every variable of its own environment that begins with `KERNEL_`, so the
request's `env` is whatever the client likes. A kernel gets what its JupyterKernelSpec declares:
a variable listed in the spec's `env` with a value (its default). What the gateway knows better,
or what would choose image, namespace or rights, is never taken from the client: where the client
says otherwise, its start is refused, for it would not get what it believes to have asked for.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hub_service.kernelspecs.parameters import RESERVED_VARIABLES

_PREFIX = "KERNEL_"
_TIMEOUT = "KERNEL_LAUNCH_TIMEOUT"
_WORKING_DIRECTORY = "KERNEL_WORKING_DIR"
# Reserved ones that clients may set all the same.
_HEEDED = frozenset({_TIMEOUT, _WORKING_DIRECTORY})
_MAX_VALUE_LENGTH = 4096
_MAX_SHOWN = 100
_MAX_LISTED = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class ClientEnvironment:
    """What remains of a client's `env`.

    accepted: declared variables with the client's values.
    dropped: names of `KERNEL_*` variables that the spec doesn't declare, sorted. (Others are not
    looked at, and those with a meaning of their own have been heeded.)
    """

    accepted: dict[str, str]
    dropped: list[str]


def filter_environment(
    env: Mapping[str, Any], declared: Iterable[str], known: Mapping[str, str]
) -> ClientEnvironment:
    """Keep the variables of `env` that the spec declares.

    env: the `env` object of a start request.
    declared: names that the spec lists with a value of its own.
    known: what the gateway knows itself, by reserved variable.
    Raises ValueError, naming the variable, if a value that would be taken is no usable string, or
    if a reserved variable says something else than what is known.
    """
    for name in sorted(env.keys() & RESERVED_VARIABLES - _HEEDED):
        if env[name] not in (None, "", known.get(name)):
            raise ValueError(_conflict(name, env[name], known.get(name)))
    allowed = {name for name in declared if name.startswith(_PREFIX)} - RESERVED_VARIABLES
    accepted = {name: value for name, value in env.items() if name in allowed}
    for name, value in accepted.items():
        if not isinstance(value, str):
            raise ValueError(f"env.{name} must be a string, not {type(value).__name__}")
        if len(value) > _MAX_VALUE_LENGTH or "\0" in value:
            raise ValueError(f"env.{name} is longer than {_MAX_VALUE_LENGTH} or holds a NUL")
    others = env.keys() - accepted.keys() - RESERVED_VARIABLES
    return ClientEnvironment(accepted, sorted(n for n in others if n.startswith(_PREFIX)))


def _conflict(name: str, value: object, known: str | None) -> str:
    instead = "is not for clients to choose" if known is None else f"is {known!r} here"
    return (
        f"env.{name} ({str(value)[:_MAX_SHOWN]!r}) {instead}: remove {name} from the environment "
        "of the notebook server, or of whatever asks for the kernel"
    )


def dropped_annotation(names: Iterable[str]) -> str:
    """Names of dropped variables, as a JupyterKernel carries them: those that can be names."""
    return ",".join([name for name in names if _NAME.fullmatch(name)][:_MAX_LISTED])


def own_environment(*, user: str, kernel_id: str, language: str) -> dict[str, str]:
    """The variables that the gateway itself gives every kernel."""
    return {"KERNEL_USERNAME": user, "KERNEL_ID": kernel_id, "KERNEL_LANGUAGE": language}


def working_directory(env: Mapping[str, Any]) -> str | None:
    """The notebook's folder, as jupyter_server names it; None where it names none.

    Whether the kernel has that folder is the service's to say, which knows its volumes.
    Raises ValueError if it is no absolute path.
    """
    path = env.get(_WORKING_DIRECTORY)
    if path is None or path == "":
        return None
    if not isinstance(path, str) or len(path) > _MAX_VALUE_LENGTH or "\0" in path:
        raise ValueError(
            f"env.{_WORKING_DIRECTORY} must be a path of at most {_MAX_VALUE_LENGTH} characters"
        )
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError(
            f"env.{_WORKING_DIRECTORY} must be an absolute path without '..', not {path!r}"
        )
    # POSIX leaves to each system what two slashes at the beginning mean.
    return "/" + posixpath.normpath(path).lstrip("/")


def start_timeout(env: Mapping[str, Any], limit: float) -> float:
    """Seconds a start may take: the gateway's limit, or less if the client waits less.

    Raises ValueError if the client's KERNEL_LAUNCH_TIMEOUT is no positive number.
    """
    text = env.get(_TIMEOUT)
    if text is None:
        return limit
    try:
        wanted = float(text)
    except (TypeError, ValueError):
        wanted = 0.0
    if not wanted > 0:
        raise ValueError(f"env.{_TIMEOUT} must be a positive number of seconds, not {text!r}")
    return min(limit, wanted)
