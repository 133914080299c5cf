"""JupyterLab in a real browser: log in, open a notebook on a GPU kernel, run it, see the answer.

And be told that the kernel is about to be culled, and keep it.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from demo.client import Person
from demo.install import Installation
from demo.observe import idle_since
from hub_service.kinds import JUPYTER_KERNELS, name_of, namespace_of
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House, OneKernel

NOTEBOOK = Path(__file__).parents[2] / "examples" / "digits.ipynb"
SECONDS = 180_000  # milliseconds, for a loaded machine

# Without these the browser asks its maker for updates, which says nothing about us.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip


def chromium() -> str:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if program is None:
        pytest.skip("no browser: install chromium, or set CHROMIUM to a program")
    return program


async def test_a_person_works_in_jupyterlab(
    house: House,
    installation: Installation,
    cluster: Cluster,
    kernel_of: OneKernel,
    kernels: Reflector,
) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        try:
            page = await _work(browser, house, installation)
            await _keep(page, cluster, kernel_of, kernels)
        finally:
            await browser.close()


async def _work(browser: Browser, house: House, installation: Installation) -> Page:
    person: Person = await house.enter("lovelace")
    await person.login()
    house.stack.push_async_callback(person.stop_server)
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(SECONDS)

    await page.goto(installation.url)
    await page.fill("#username_input", "lovelace")
    await page.fill("#password_input", installation.password)
    await page.click("#login_submit")
    await page.wait_for_selector("text=Two GPUs, please")  # the options of the spawn page
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_url("**/user/lovelace/lab**")
    await person.sign_in_to_server()
    await person.save_file("digits.ipynb", NOTEBOOK.read_text())

    await page.goto(f"{installation.url}/user/lovelace/lab/tree/digits.ipynb")
    await _run_all(page)

    outputs = page.locator(".jp-OutputArea-output")
    await expect(outputs.filter(has_text="accuracy:")).to_be_visible(timeout=SECONDS)
    await expect(outputs.filter(has_text="GPU: GPU-")).to_be_visible()
    await expect(page.locator(".jp-Toolbar-kernelName")).to_contain_text("Python 3 (1 GPU)")
    picture = await page.screenshot(path=os.environ.get("SCREENSHOT"))
    assert len(picture) > 20_000
    return page


async def _keep(page: Page, cluster: Cluster, kernel_of: OneKernel, kernels: Reflector) -> None:
    kernel = await kernel_of("lovelace")
    key = (namespace_of(kernel), name_of(kernel))
    idle = await kernels.wait_for(key, lambda item: idle_since(item) > 0, 60)
    # The second half of it is for the warning.
    timeout = int(time.time() - idle_since(idle)) + 24
    await cluster.merge_patch(JUPYTER_KERNELS, *key, {"spec": {"cullIdleTimeout": timeout}})
    outputs = page.locator(".jp-OutputArea-output")
    warning = outputs.filter(has_text="This kernel ends at")
    await expect(warning).to_be_visible(timeout=SECONDS)
    async with page.expect_popup() as opened:
        await warning.get_by_role("link", name="the page of your kernels").click()
    kept = await opened.value
    await kept.get_by_role("button", name="Keep it for longer").click()
    await expect(kept.get_by_text(f"{name_of(kernel)} is kept until")).to_be_visible()
    # What was said below the cell is brought up to date.
    await expect(outputs.filter(has_text="is kept until")).to_be_visible(timeout=SECONDS)
    await expect(warning).to_have_count(0)


async def _run_all(page: Page) -> None:
    # JupyterLab leaves out, without a word, cells that are run before the kernel is there.
    await page.wait_for_selector("text=Python 3 (1 GPU) | Idle")
    await page.click("text=Run >> nth=0")
    await page.click("text=Run All Cells")
