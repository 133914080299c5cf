"""What the person at the terminal sees: one line a step, with the seconds since the start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from localcluster.layout import ClusterError

_started = time.monotonic()


def say(text: str) -> None:
    """Print a step."""
    print(f"[{time.monotonic() - _started:5.1f}s] {text}", flush=True)


def command(*arguments: str | Path, hint: str = "", stdin: str | None = None) -> str:
    """Run a command to its end and return what it printed.

    Raises ClusterError with the command's own words and the hint when it fails.
    """
    words = [str(a) for a in arguments]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is missing: {error.strerror}. {hint}".strip()) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ClusterError(f"{_shown(arguments)} failed: {said}" + (f"\n{hint}" if hint else ""))
    return done.stdout


def logged(arguments: Sequence[str | Path], log: Path, hint: str, **options: object) -> None:
    """Run a long command with its output in a file; on failure show the file's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        done = subprocess.run(  # type: ignore[call-overload]
            [str(a) for a in arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
            **options,
        )
    if done.returncode:
        raise ClusterError(f"{_shown(arguments)} failed:\n{tail(log)}\n{hint} (all of it: {log})")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file."""
    if not log.exists():
        return f"({log} does not exist)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _shown(arguments: Sequence[str | Path]) -> str:
    words = [str(a) for a in arguments[:4]]
    return " ".join([*words, "…"] if len(arguments) > 4 else words)


def warn(text: str) -> None:
    """Print something worth knowing that stops nothing."""
    print(f"         note: {text}", file=sys.stderr, flush=True)
