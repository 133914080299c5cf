"""Runs the test suites one after the other and sums them up: `python -m tests.run [SUITE ...]`.

Each suite is a pytest run of its own, in the environment that its code runs in. Suites that need a
cluster get one of their own (not the demo's), which ends with them, whatever happened. With
`--existing` they use the cluster of KUBECONFIG, if there is nothing on it that they would touch,
and remove what they brought.

Tests marked `long` are left out, unless LONG_TESTS is `only` or `too`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from demo import existing
from demo.install import KubectlError, uninstall
from localcluster import host
from localcluster.layout import ClusterError
from tests.z2jh import chart as by_chart

ROOT = Path(__file__).parent.parent
MAIN, GATEWAY = ".venv/bin/python", ".venv-gateway/bin/python"
CLUSTER = "tests"
# What leads to an existing cluster, and to the hub on it.
_ACCESS = ("KUBECONFIG", "KUBECTL", "HUB_URL")
# Suites of local clusters only.
_LOCAL = {"faults", "local-cluster"}
# By LONG_TESTS: which tests of a suite run.
_SELECTIONS = {"": ["-m", "not long"], "only": ["-m", "long"], "too": []}
_NO_CLUSTER = (
    ClusterError,
    subprocess.CalledProcessError,
    KubectlError,
    existing.ClusterInUseError,
)


@dataclass(frozen=True)
class Suite:
    """One folder of tests and the Python that runs it."""

    name: str
    folder: str
    python: str = MAIN
    cluster: bool = False
    needs: str = ""  # an environment variable that only this suite gets


SUITES = {
    suite.name: suite
    for suite in (
        Suite("unit", "tests/unit"),
        Suite("gateway", "tests/gateway", GATEWAY, cluster=True),
        Suite("integration", "tests/integration", cluster=True),
        Suite("end-to-end", "tests/e2e", cluster=True),
        # A few: `make faults` is the long run. They strike the node itself.
        Suite("faults", "tests/faults", cluster=True),
        Suite("local-cluster", "tests/localcluster"),  # starts its own
        # With a real Kueue of that version, built from source.
        Suite("kueue", "tests/integration/test_kueue.py", cluster=True, needs="KUEUE"),
        # The same hub by the chart of Zero to JupyterHub, where Z2JH_CHART names one.
        # Not beside the suites above: both hubs have the same names.
        Suite("chart", "tests/z2jh", cluster=True, needs="Z2JH_CHART"),
        Suite("chart-end-to-end", "tests/e2e", cluster=True, needs="Z2JH_CHART"),
    )
}


@dataclass
class Counts:
    """What a suite's report says."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def cluster(name: str = CLUSTER, *, gpus: int = 2, images: bool = True) -> Iterator[dict[str, str]]:
    """A cluster with the project's images; yields the environment that leads to it."""
    access = ROOT / ".cluster" / name
    if images and shutil.which("chromium") is None and "CHROMIUM" not in os.environ:
        host.install({"chromium"})
    where = ("--kubeconfig", str(access / "kubeconfig"))
    _localcluster("up", "--name", name, "--gpus", str(gpus), *where)
    try:
        if images:
            _localcluster("images", "--name", name)
        yield {"KUBECONFIG": str(access / "kubeconfig"), "KUBECTL": str(access / "kubectl")}
    finally:
        _localcluster("down", "--name", name, "--purge")


@contextlib.contextmanager
def existing_cluster() -> Iterator[dict[str, str]]:
    """The cluster of KUBECONFIG; what the suites install there is removed at the end."""
    server = existing.refuse_strangers(may_be_ours=False)
    existing.require_gpus()
    print(f"tests run on {server}", flush=True)
    try:
        yield {name: value for name in _ACCESS if (value := os.environ.get(name))}
    finally:
        by_chart.uninstall()
        uninstall()


def run(suite: Suite, report: Path, environment: dict[str, str]) -> Counts:
    """Run one suite; a suite that ran nothing counts as failed."""
    print(f"\n=== {suite.name}: {suite.folder}", flush=True)
    selection = _SELECTIONS[environment.get("LONG_TESTS", "")]
    command = [suite.python, "-m", "pytest", suite.folder, f"--junitxml={report}", *selection]
    status = subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode
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


def main() -> int:
    """Run the suites named on the command line, or all; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all if none is named")
    parser.add_argument("--no-cluster", action="store_true", help="skip what needs a cluster")
    parser.add_argument("--existing", action="store_true", help="on the cluster of KUBECONFIG")
    options = parser.parse_args()
    if options.existing and not os.environ.get("KUBECONFIG"):
        parser.error("--existing: set KUBECONFIG to the cluster's kubeconfig file")
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if os.environ.get("LONG_TESTS", "") not in _SELECTIONS:
        parser.error("LONG_TESTS: must be `only`, `too` or unset")
    signal.signal(signal.SIGTERM, _end)
    named = options.suites or [suite.name for suite in SUITES.values() if not suite.needs]
    suites = [SUITES[name] for name in named]
    if options.existing:
        suites = [suite for suite in suites if suite.name not in _LOCAL]
    for suite in suites:
        if suite.needs and not os.environ.get(suite.needs):
            parser.error(f"{suite.name} can't run, nothing was tested: {suite.needs} is not set")
    special = {*_ACCESS, *(suite.needs for suite in SUITES.values())}
    plain = {name: value for name, value in os.environ.items() if name not in special}
    results: dict[str, Counts] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        access: dict[str, str] = {}
        for suite in suites:
            if suite.cluster and not options.no_cluster and not access:
                try:
                    access = stack.enter_context(
                        existing_cluster() if options.existing else cluster()
                    )
                except _NO_CLUSTER as error:
                    print(f"error: no cluster for the tests: {error}", file=sys.stderr)
                    return 1
            environment = plain | (access if suite.cluster else {})
            if suite.needs:
                environment |= {suite.needs: os.environ[suite.needs]}
            results[suite.name] = run(suite, folder / f"{suite.name}.xml", environment)
    return _sum_up(results)


def _sum_up(results: dict[str, Counts]) -> int:
    print("\nsuite             passed  failed  skipped  seconds")
    for name, c in results.items():
        print(f"{name:<16} {c.passed:>7} {c.failed:>7} {c.skipped:>8} {c.seconds:>8.1f}")
    for suite in SUITES.values():
        if suite.needs and suite.name not in results:
            print(f"{suite.name:<16} did not run: it is run by name, with {suite.needs} set")
    failed = sum(c.failed for c in results.values())
    passed = sum(c.passed for c in results.values())
    skipped = sum(c.skipped for c in results.values())
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


def _localcluster(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "localcluster", *arguments], cwd=ROOT, check=True)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
