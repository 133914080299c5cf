"""Unit tests on each JupyterHub and Python that the hub's parts are meant for.

`python -m tests.hubs [PYTHON ...]`. Each pair gets a virtual environment in the cache: what
requirements/dev.txt pins, with that JupyterHub in place of its own. Pythons are those found on this
machine; one that isn't here is said to have not run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from localcluster.layout import cache_folder

ROOT = Path(__file__).parent.parent
HUBS = ("5.5", "6.1")
PYTHONS = ("3.11", "3.12", "3.13")
_UV = Path(sys.executable).with_name("uv")


def main() -> int:
    """Run all pairs; the exit status is 0 if every Python was found and every test passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.hubs", description=__doc__)
    parser.add_argument("pythons", nargs="*", default=PYTHONS)
    lines, failed = [], False
    for version in parser.parse_args().pythons:
        python = _find(version)
        if python is None:
            lines.append(f"Python {version:<8} did not run: there is no such Python here")
            failed = True
            continue
        for hub in HUBS:
            passed, line = _run(python, hub)
            lines.append(line)
            failed = failed or not passed
    print("\n" + "\n".join(lines))
    return 1 if failed else 0


def _find(version: str) -> Path | None:
    """A Python of that version on PATH, or among pyenv's."""
    name = f"python{version}"
    on_path = [Path(folder) / name for folder in os.environ["PATH"].split(os.pathsep)]
    versions = Path.home() / ".pyenv" / "versions"
    for python in [*on_path, *sorted(versions.glob(f"{version}.*/bin/{name}"))]:
        # pyenv's own entry on PATH is there for versions that are not chosen, and fails.
        if (
            python.exists()
            and not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode
        ):
            return python
    return None


def _run(python: Path, hub: str) -> tuple[bool, str]:
    folder = cache_folder() / "hubs" / f"{python.name}-hub{hub}"
    interpreter = folder / "bin" / "python"
    print(f"\n=== JupyterHub {hub} on {python}", flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as override:
        override.write(f"jupyterhub=={hub}.*\n")
        override.flush()
        for step in (
            ("venv", "--quiet", "--clear", "--python", str(python), str(folder)),
            (
                "pip", "install", "--quiet", "--python", str(interpreter), "--no-verify-hashes",
                "--override", override.name, "-r", str(ROOT / "requirements" / "dev.txt"),
            ),
        ):  # fmt: skip
            done = _uv(*step)
            if done.returncode:
                print(done.stderr)
                return False, f"JupyterHub {hub:<8} Python {python.name}: could not be installed"
    versions = (
        "import platform, jupyterhub; print(jupyterhub.__version__, platform.python_version())"
    )
    named = subprocess.run(
        [interpreter, "-c", versions], capture_output=True, text=True, check=True
    )
    hub_version, python_version = named.stdout.split()
    command = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "pytest said nothing"
    line = f"JupyterHub {hub_version:<8} Python {python_version:<8} {last.strip('= ')}"
    return done.returncode == 0, line


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_UV, *arguments], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
