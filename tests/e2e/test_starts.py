"""Starts that wait and starts that fail, as a notebook meets them through its own server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nbformat
from playwright.async_api import Page, async_playwright, expect

from demo.client import Connection, Person, RequestFailedError
from demo.install import Images, Installation
from demo.observe import gpu_pod, gpus_of_the_cluster, kernels_of
from hub_service.kinds import JUPYTER_KERNEL_SPECS, JUPYTER_KERNEL_TEMPLATES
from hub_service.kube.client import Cluster
from tests.e2e.support import House
from tests.e2e.test_browser import QUIET, SECONDS, chromium

NAME = "of-this-test"
# A start that fails is told of within this; most are answered before the request is.
SOON = 30.0


async def test_a_cell_says_what_its_kernel_waits_for_and_then_runs(
    house: House, cluster: Cluster, namespace: str, images: Images
) -> None:
    person = await house.open("ada")
    everything = await gpus_of_the_cluster(cluster)
    async with gpu_pod(cluster, namespace, "newcomer", images.name("kernel"), everything):
        began = time.monotonic()
        kernel = await person.start_kernel("python-gpu", wait=False)
        answered = time.monotonic() - began
        (model,) = [model for model in await person.kernels() if model["id"] == kernel]
        assert model["execution_state"] == "starting"
        connection = await house.stack.enter_async_context(person.connect(kernel))
        first = await connection.submit("print('it', 'ran')")
        second = await connection.submit("print('and', 'this')")
        said = await _first_words(connection, first)
        print(f"answered after {answered:.1f} s: {model['execution_state']}; the cell says: {said}")
        assert "GPU" in said

    result = await connection.result(first)
    assert (result.status, result.text) == ("ok", "it ran\n")
    assert (await connection.result(second)).text == "and this\n"
    await person.shut_down(kernel)


async def _first_words(connection: Connection, cell: str) -> str:
    async with asyncio.timeout(SOON):
        while True:
            message = await connection.receive(timeout=SOON)
            ours = (message.get("parent_header") or {}).get("msg_id") == cell
            if ours and message["header"]["msg_type"] == "stream":
                return str(message["content"]["text"])


async def test_jupyterlab_shows_what_a_cell_waits_for_and_keeps_the_notebooks_language(
    house: House, cluster: Cluster, namespace: str, images: Images, installation: Installation
) -> None:
    person = await house.open("lovelace")
    everything = await gpus_of_the_cluster(cluster)
    cells = [nbformat.v4.new_code_cell("print('it', 'ran')")]
    chosen = {"name": "python-gpu", "display_name": "Python 3 (1 GPU)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": chosen})
    await person.save_file("waits.ipynb", nbformat.writes(notebook))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        house.stack.push_async_callback(browser.close)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(SECONDS)
        await _log_in(page, installation, "lovelace")
        output = page.locator(".jp-OutputArea-output")
        async with gpu_pod(cluster, namespace, "newcomer", images.name("kernel"), everything):
            await page.goto(f"{installation.url}/user/lovelace/lab/tree/waits.ipynb")
            await page.locator(".jp-CodeCell .cm-content").click()
            # Cells that are run before there is a kernel at all are left out by JupyterLab.
            await page.wait_for_selector("text=Python 3 (1 GPU) | Starting")
            await page.keyboard.press("Shift+Enter")
            await expect(output.filter(has_text="GPU")).to_be_visible(timeout=SECONDS)
        await expect(output.filter(has_text="it ran")).to_be_visible(timeout=SECONDS)
        await expect(output.filter(has_text="GPU")).to_have_count(0)
        await page.keyboard.press("Control+s")
        info: dict[str, Any] = {}
        async with asyncio.timeout(SOON):
            while not info:  # until it is saved
                info = (await person.notebook("waits.ipynb"))["metadata"].get("language_info", {})
    # What the kernel says of itself, not what was known before it answered.
    assert info["name"] == "python"
    assert info["version"].startswith("3.")
    assert info["nbconvert_exporter"] == "python"


async def _log_in(page: Page, installation: Installation, name: str) -> None:
    await page.goto(f"{installation.url}/hub/login")
    await page.fill("#username_input", name)
    await page.fill("#password_input", installation.password)
    await page.click("#login_submit")
    await page.wait_for_url(f"**/user/{name}/**")


_PLAIN = {"language": "python", "displayName": "Of this test"}
_PYTHON = ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
_NO_CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "nobodys"}}

FATAL: dict[str, tuple[dict[str, Any], str]] = {
    "an image that does not exist": ({"image": "elastic/nobodys:dev"}, "elastic/nobodys:dev"),
    "an image's name that is none": ({"image": "Not An Image"}, "Not An Image"),
    "a command that is not there": ({"command": ["no-such-program"]}, "no-such-program"),
    "a crash at start": (
        {"command": ["python3", "-c", "raise SystemExit('the licence server is away')"]},
        "the licence server is away",
    ),
    "a volume claim that is missing": ({"template": {"name": NAME}}, "nobodys"),
    "more than any node has": ({"resources": {"requests": {"cpu": "1000"}}}, "1000"),
    "a pod that the cluster rejects": (
        {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
        "memory",
    ),
}


async def test_starts_that_cannot_succeed_end_in_seconds_and_say_why(
    house: House, cluster: Cluster, installation: Installation, images: Images, namespace: str
) -> None:
    person = await house.open("ada")
    for what, (fields, named) in FATAL.items():
        async with _a_spec(cluster, installation.namespace, images, fields):
            await _until_offered(person)
            began = time.monotonic()
            status, told = await _failure(person)
            took = time.monotonic() - began
        where = f"HTTP {status}" if status else "the cell"
        print(f"{what}: after {took:.1f} s, by {where}: {told}")
        assert took < SOON
        assert named in told
        async with asyncio.timeout(SOON):
            while await kernels_of(cluster, namespace, "ada"):  # noqa: ASYNC110 - it is quick
                await asyncio.sleep(0.2)


async def _failure(person: Person) -> tuple[int, str]:
    """How JupyterLab is told: status and message of the answer, or 0 and what stands in a cell."""
    try:
        kernel = await person.start_kernel(NAME, wait=False)
    except RequestFailedError as error:
        return error.status, error.message
    cell = await person.run(kernel, "1", timeout=SOON)
    assert cell.status == "error"
    await person.shut_down(kernel)
    return 0, cell.text


@asynccontextmanager
async def _a_spec(
    cluster: Cluster, namespace: str, images: Images, fields: dict[str, Any]
) -> AsyncIterator[None]:
    spec = {**_PLAIN, "image": images.name("kernel"), "command": _PYTHON, **fields}
    kernel = {"name": "kernel", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    pod = {"spec": {"containers": [kernel], "volumes": [_NO_CLAIM]}}
    for resource, body in (
        (JUPYTER_KERNEL_TEMPLATES, {"template": pod}),
        (JUPYTER_KERNEL_SPECS, spec),
    ):
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        await cluster.create(
            resource, namespace, {**head, "metadata": {"name": NAME}, "spec": body}
        )
    try:
        yield
    finally:
        await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, NAME)
        await cluster.delete(JUPYTER_KERNEL_TEMPLATES, namespace, NAME)


async def _until_offered(person: Person) -> None:
    async with asyncio.timeout(SOON):
        while NAME not in (await person.kernelspecs())["kernelspecs"]:
            pass
