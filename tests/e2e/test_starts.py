"""Starts that wait, as a notebook meets them through its own server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import nbformat
from playwright.async_api import Page, async_playwright, expect

from demo.connection import Connection
from demo.install import Images, Installation
from demo.observe import gpu_pod, gpus_of_the_cluster
from hub_service.kube.client import Cluster
from tests.e2e.support import House
from tests.e2e.test_browser import QUIET, SECONDS, chromium

# What a start waits for is told within this.
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
            await page.goto(f"{installation.url}/user/lovelace/lab/tree/waits.ipynb?reset")
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
