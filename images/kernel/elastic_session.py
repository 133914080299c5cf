"""Saves a Python kernel's variables into its user's home, and brings them back in another kernel.

A JupyterKernelSpec may have it run before an idle kernel is culled:

    beforeCull: {code: "import elastic_session; elastic_session.save()"}

In a new kernel a cell brings back what was saved last, or what a name says:

    import elastic_session; elastic_session.restore()

It needs dill and nothing else, and works in any image that it is copied into. What can't be saved
(open files, connections, generators) is left out, and said. Files are pickles: restore none that
somebody else may have written.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["restore", "save", "sessions"]

# Of a user's sessions, so many are kept.
_MOST = 5
_MOST_NAMED = 20


def save(name: str | None = None) -> Path:
    """Save the variables of this kernel, and print how to have them again.

    name: of the session; otherwise the time and the kernel's id. Raises OSError where the home
    can't take it; nothing is left behind then. ValueError for a name that can't be a file's.
    """
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kernel = os.environ.get("KERNEL_ID", "")[:8] or str(os.getpid())
    if name and Path(name).name != name:
        raise ValueError(f"{name!r} is no name: it must be that of a file in {folder}.")
    name = name or f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{kernel}"
    path, part = folder / f"{name}.dill", folder / f"{name}.part"
    variables, left_out = _variables(), []
    try:
        try:
            _write(part, variables, left_out)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - whatever a variable's own pickling raises
            left_out = sorted(key for key, value in variables.items() if not _can_be_saved(value))
            variables = {key: value for key, value in variables.items() if key not in left_out}
            _write(part, variables, left_out)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    _forget_old(folder)
    _say(_told(path, variables, left_out))
    return path


def restore(name: str | None = None) -> list[str]:
    """Set the variables of a session in this kernel; their names.

    name: as it was told when the session was saved; otherwise the newest. Raises FileNotFoundError
    where there is no such session.
    """
    import dill

    known = sessions()
    if not known or (name is not None and name not in known):
        there = ", ".join(known) or "none"
        raise FileNotFoundError(
            f"There is no session {name or ''} in {_folder()}; there are: {there}."
        )
    path = _folder() / f"{name or known[0]}.dill"
    with path.open("rb") as file:
        described = json.loads(file.readline())
        variables: dict[str, Any] = dill.load(file)  # noqa: S301 - see above
    _namespace().update(variables)
    names = sorted(variables)
    of = f"{described['saved']} ({described['folder']})"
    _say(f"Restored {_count(names)} of {of}: {_listed(names)}")
    return names


def sessions() -> list[str]:
    """Names of the sessions that are there, the newest first."""
    found = sorted(_folder().glob("*.dill"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.stem for path in found]


def _say(text: str) -> None:
    print(text)  # noqa: T201 - for whoever runs the cell


def _folder() -> Path:
    return Path.home() / ".local" / "share" / "elastic-kernels" / "sessions"


def _namespace() -> dict[str, Any]:
    return vars(sys.modules["__main__"])


def _variables() -> dict[str, Any]:
    """What the user has set: no underscores, and nothing that IPython has put there."""
    hidden: set[str] = {"In", "Out", "elastic_session"}
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        hidden |= set(shell.user_ns_hidden) if shell else set()
    return {
        name: value
        for name, value in list(_namespace().items())
        if not name.startswith("_") and name not in hidden
    }


def _write(part: Path, variables: dict[str, Any], left_out: list[str]) -> None:
    import dill

    described = {
        "saved": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "folder": str(Path.cwd()),
        "python": sys.version.split()[0],
        "left_out": left_out,
    }
    with open(part, "wb", opener=lambda file, flags: os.open(file, flags, 0o600)) as file:
        file.write(json.dumps(described).encode() + b"\n")
        dill.dump(variables, file)


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def _can_be_saved(value: Any) -> bool:
    import dill

    try:
        dill.dump(value, _Nowhere())
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _forget_old(folder: Path) -> None:
    for name in sessions()[_MOST:]:
        (folder / f"{name}.dill").unlink(missing_ok=True)


def _told(path: Path, variables: dict[str, Any], left_out: list[str]) -> str:
    said = (
        f"{_count(list(variables)).capitalize()} saved to {path}. A cell with "
        f"`import elastic_session; elastic_session.restore('{path.stem}')` brings them back in a "
        "new kernel."
    )
    return f"{said} Could not be saved: {_listed(left_out)}." if left_out else said


def _count(names: list[str]) -> str:
    return "1 variable" if len(names) == 1 else f"{len(names)} variables"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
