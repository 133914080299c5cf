"""Runs in a warm pod as the kernel's interpreter, and becomes the kernel when somebody claims it.

Words: the folder for the claim, imports with commas between them, the kernel's module, its own
words. The imports are loaded; then what is the user's is waited for: one line of JSON, through a
pipe in the folder (see pods.py). A process that is started again in the pod, as for a restart,
finds what was sent, loads nothing and is the kernel as any other.

This text is passed to `python -c` in whatever image the kernel has: standard library only, and
nothing that an older Python doesn't know.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
from typing import Any

# What ipykernel imports by the time that it answers, in those versions that have it.
_OF_IPYKERNEL = ("ipykernel.kernelapp", "ipykernel.debugger", "IPython.core.completerlib")


def main(folder: str, imports: str, module: str, words: list[str]) -> None:
    """Be that module, run with these words, for whoever claims the pod."""
    # `python -m` has the folder that it is started in there; `-c` has an empty text.
    has_folder = sys.path[:1] == [""]
    if has_folder:
        del sys.path[0]
    taken = os.path.join(folder, "taken.json")
    if not os.path.exists(taken):
        names = [name for name in imports.split(",") if name]
        _load(module, names)
        _take(folder, taken)
    with open(taken) as file:
        claim = json.load(file)
    os.environ.update(claim["environment"])
    _go(claim.get("root"), claim.get("directory"))
    if has_folder:
        sys.path.insert(0, os.getcwd())
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _load(module: str, names: list[str]) -> None:
    """Import what the kernel would import first, and the modules of these names."""
    if module in ("ipykernel_launcher", "ipykernel"):
        # ipykernel says so before a user's code can import matplotlib, which looks once.
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        for name in _OF_IPYKERNEL:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    for name in names:
        importlib.import_module(name)


def _take(folder: str, taken: str) -> None:
    """Wait for a claim, and keep it; its connection file is one by itself.

    Who is cut off while writing gives the pod up, and so it ends.
    """
    pipe = os.path.join(folder, "claim")
    before = os.umask(0o077)
    # That it is there says that the imports are loaded. From an earlier run it may be already.
    if not os.path.exists(pipe):
        os.mkfifo(pipe)
    with open(pipe) as file:
        claim = json.load(file)
    with open(os.path.join(folder, "connection.json"), "w") as file:
        file.write(claim.pop("connection"))
    with open(taken + ".new", "w") as file:
        json.dump(claim, file)
    os.rename(taken + ".new", taken)
    os.unlink(pipe)
    os.umask(before)


def _go(root: Any, directory: Any) -> None:
    """Go to the notebook's folder, as kernels do that are not warm."""
    if root:
        os.chdir(root)
    if not directory:
        return
    try:
        os.chdir(directory)
    except OSError:
        message = "The kernel starts in %s: %s is not there.\n"
        sys.stderr.write(message % (os.getcwd(), directory))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
