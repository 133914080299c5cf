"""Runs the test suites one after the other and sums them up: `python -m tests.run [SUITE ...]`.

Each suite is a pytest run of its own, in the environment that its code runs in.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAIN, GATEWAY = ".venv/bin/python", ".venv-gateway/bin/python"


@dataclass(frozen=True)
class Suite:
    """One folder of tests and the Python that runs it."""

    name: str
    folder: str
    python: str = MAIN
    options: tuple[str, ...] = ()


SUITES = {
    suite.name: suite
    for suite in (
        Suite("unit", "tests/unit"),
        Suite("gateway", "tests/gateway", GATEWAY),
        Suite("integration", "tests/integration"),
        Suite("end-to-end", "tests/e2e"),
        Suite("local-cluster", "tests/localcluster"),
    )
}


@dataclass
class Counts:
    """What a suite's report says."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def run(suite: Suite, report: Path) -> Counts:
    """Run one suite; a suite that ran nothing counts as failed."""
    print(f"\n=== {suite.name}: {suite.folder}", flush=True)
    command = [suite.python, "-m", "pytest", suite.folder, f"--junitxml={report}", *suite.options]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    counts = Counts()
    if report.exists():
        for element in ElementTree.parse(report).getroot().iter("testsuite"):
            failed = int(element.get("failures", 0)) + int(element.get("errors", 0))
            skipped = int(element.get("skipped", 0))
            counts.failed += failed
            counts.skipped += skipped
            counts.passed += int(element.get("tests", 0)) - failed - skipped
            counts.seconds += float(element.get("time", 0))
    if status != 0 and not counts.failed:
        counts.failed = 1
    return counts


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
        return 2
    results: dict[str, Counts] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or list(SUITES):
            results[name] = run(SUITES[name], Path(folder, f"{name}.xml"))
    print("\nsuite            passed  failed  skipped  seconds")
    for name, c in results.items():
        print(f"{name:<15} {c.passed:>7} {c.failed:>7} {c.skipped:>8} {c.seconds:>8.1f}")
    failed = sum(c.failed for c in results.values())
    passed = sum(c.passed for c in results.values())
    skipped = sum(c.skipped for c in results.values())
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
