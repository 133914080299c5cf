"""The CronJob of the examples on the cluster: notebooks that run unattended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from demo.client import Person
from demo.install import Images, Installation, kubectl
from demo.observe import gpus_in_use, kernels_of
from hub_service.kinds import Object, Resource, spec_of, status_of
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from hub_service.names import kernels_scope
from tests.e2e.support import House, gpus_become

ROOT = Path(__file__).parents[2]
NAME = "nightly"
JOBS = Resource("batch", "v1", "jobs", "Job")
PATIENCE = 120.0


def example(images: Images, namespace: str) -> str:
    """examples/scheduled/cronjob.yaml with the image's name and the namespace of this cluster."""
    text = (ROOT / "examples" / "scheduled" / "cronjob.yaml").read_text()
    text = text.replace("elastic/job:dev", images.name("job"))
    return text.replace("namespace: jupyter-users", f"namespace: {namespace}")


@pytest.fixture
async def owner(house: House) -> Person:
    """A user of the hub who has no server, and needs none."""
    person = await house.enter("scheduler")
    await person.login()
    return person


class Nightly:
    """The CronJob, and runs of it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def start(self, run: str) -> None:
        self._kubectl("create", "job", f"--from=cronjob/{NAME}", run)

    async def ends(self, run: str) -> str:
        """Complete or Failed, once it is one of them."""
        jobs = Reflector(self._cluster, JOBS, self._namespace)
        watch = asyncio.create_task(jobs.run())
        try:
            await jobs.synced(PATIENCE)
            job = await jobs.wait_for(
                (self._namespace, run), lambda item: item is not None and _end(item), PATIENCE
            )
        finally:
            watch.cancel()
        return _end(job)

    def log(self, run: str) -> str:
        return self._kubectl("logs", f"job/{run}")

    def notebook(self, *cells: str) -> None:
        """What the next runs execute."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        self.configure("digits.ipynb", nbformat.writes(notebook))

    def configure(self, name: str, text: str) -> None:
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "nightly-notebook", "namespace": self._namespace},
            "data": {name: text},
        }
        kubectl("apply", "-f", "-", manifest=json.dumps(config_map))

    def end_pod(self, run: str) -> None:
        self._kubectl("delete", "pod", "-l", f"batch.kubernetes.io/job-name={run}")

    def _kubectl(self, *arguments: str) -> str:
        return kubectl("-n", self._namespace, *arguments)


def _end(job: Object) -> str:
    for entry in status_of(job).get("conditions") or []:
        if entry["type"] in ("Complete", "Failed") and entry["status"] == "True":
            return str(entry["type"])
    return ""


@pytest.fixture(scope="module")
def cronjob(installation: Installation, images: Images) -> Iterator[str]:
    """The example, applied; its namespace."""
    manifest = example(images, installation.namespace)
    kubectl("apply", "-f", "-", manifest=manifest)
    yield installation.namespace
    kubectl("delete", "--cascade=foreground", "-f", "-", manifest=manifest)
    belongings = ("secret/nightly-token", "configmap/nightly-notebook")
    kubectl("-n", installation.namespace, "delete", *belongings)


@pytest.fixture
async def nightly(owner: Person, cluster: Cluster, cronjob: str) -> Nightly:
    # Access to one's servers, and nothing else: what the gateway asks for.
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "nightly-token", "namespace": cronjob},
        "stringData": {"token": await owner.api_token(kernels_scope("elastic"))},
    }
    kubectl("apply", "-f", "-", manifest=json.dumps(secret))
    return Nightly(cluster, cronjob)


async def test_a_notebook_runs_unattended_and_gives_its_gpu_back(
    nightly: Nightly, owner: Person, cluster: Cluster, namespace: str
) -> None:
    nightly.configure("digits.ipynb", (ROOT / "examples" / "digits.ipynb").read_text())
    before = await gpus_in_use(cluster, namespace)

    nightly.start("of-digits")

    assert await nightly.ends("of-digits") == "Complete", nightly.log("of-digits")
    log = nightly.log("of-digits")
    assert "GPU: GPU-" in log
    assert "accuracy: 0.9" in log
    assert await kernels_of(cluster, namespace, owner.name) == []
    await gpus_become(before, cluster, namespace)


async def test_a_failing_cell_fails_the_run_with_its_traceback(
    nightly: Nightly, owner: Person, cluster: Cluster, namespace: str
) -> None:
    nightly.notebook("print('so far')", "1 / 0", "print('never')")

    nightly.start("that-fails")

    assert await nightly.ends("that-fails") == "Failed"
    log = nightly.log("that-fails")
    assert "so far" in log
    assert "----> 1 1 / 0" in log
    assert "ZeroDivisionError: division by zero" in log
    assert "never" not in log
    assert await kernels_of(cluster, namespace, owner.name) == []


@pytest.mark.long
async def test_a_kernel_that_dies_fails_the_run_with_the_reason(
    nightly: Nightly, owner: Person, cluster: Cluster, namespace: str
) -> None:
    nightly.notebook("import os; os._exit(3)")

    nightly.start("that-dies")

    assert await nightly.ends("that-dies") == "Failed"
    assert "The kernel's process ended with exit code 3." in nightly.log("that-dies")
    assert await kernels_of(cluster, namespace, owner.name) == []


@pytest.mark.long
async def test_a_run_that_is_ended_ends_its_kernel(
    nightly: Nightly, owner: Person, cluster: Cluster, kernels: Reflector, namespace: str
) -> None:
    nightly.notebook("import time; time.sleep(3600)")
    running = asyncio.Event()

    def look(_: object, __: object, new: Object | None) -> None:
        if new and spec_of(new).get("owner") == owner.name:
            activity = status_of(new).get("activity") or {}
            if activity.get("executionState") == "busy":
                running.set()

    kernels.subscribe(look)
    nightly.start("without-end")
    await asyncio.wait_for(running.wait(), PATIENCE)

    nightly.end_pod("without-end")  # returns when the pod has gone

    assert await kernels_of(cluster, namespace, owner.name) == []
