"""An administrator changes a group's limit on the hub's admin page; the next start obeys."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from demo.client import Person, RequestFailedError
from demo.install import Installation
from tests.e2e.support import House
from tests.e2e.test_browser import QUIET, SECONDS, chromium


@pytest.mark.one_mode
async def test_a_limit_that_is_changed_on_the_admin_page_counts_from_the_next_start_on(
    house: House, installation: Installation
) -> None:
    ada, admin = await house.open("ada"), await house.enter("admin")
    await admin.login()
    group = f"students-{uuid.uuid4().hex[:6]}"
    await admin.make_group(group, "ada")
    house.stack.push_async_callback(admin.delete_group, group)
    async with _page_of(group, installation) as page:
        first = await ada.start_kernel("python")

        await _write(page, "elastic.kernels", "1")
        lowered = time.monotonic()
        refusal = await _refused(ada, lowered)
        print(f"lowered to 1: a start obeyed {time.monotonic() - lowered:.2f} s after Apply")
        assert f"ada may have 1 kernel (of group {group}), and this one is there" in refusal
        assert first in refusal
        mine = await ada.service("api/quota")
        assert mine["resources"]["kernels"]["set_by"] == {"kind": "group", "name": group}
        assert (mine["groups"], mine["resources"]["kernels"]["used"]) == ([group], 1)

        await _write(page, "elastic.kernels", "3")
        raised = time.monotonic()
        for _ in range(2):  # the second is over the limit of those who are in no group
            await _admitted(ada, raised)
        print(f"raised to 3: two starts obeyed {time.monotonic() - raised:.2f} s after Apply")

        await _write(page, "elastic.kernels", "three")
        problems = (await admin.service("api/quota"))["problems"]
        assert {"group": group, "key": "elastic.kernels"}.items() <= problems[0].items()
        assert "'three' is no limit of kernels: write one such as 2" in problems[0]["message"]


@contextlib.asynccontextmanager
async def _page_of(group: str, installation: Installation) -> AsyncIterator[Page]:
    """The group's page of the hub's admin pages, in a browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        try:
            page = await browser.new_page()
            page.set_default_timeout(SECONDS)
            # Without next, it goes to the administrator's server, if there is one.
            await page.goto(f"{installation.url}/hub/login?next=%2Fhub%2Fhome")
            await page.fill("#username_input", "admin")
            await page.fill("#password_input", installation.password)
            await page.click("#login_submit")
            await page.wait_for_selector("#logout")
            await page.goto(f"{installation.url}/hub/admin#/groups")
            await page.get_by_role("link", name=group).click()
            await page.wait_for_selector(".properties-table")
            yield page
        finally:
            await browser.close()


async def _write(page: Page, key: str, value: str) -> None:
    """Write a row of the group's properties, as a person does, and apply it."""
    table = page.locator(".properties-table tbody tr")
    if await table.count() == 1:  # the row for new ones
        inputs = table.last.locator("input")
        await inputs.nth(0).fill(key)
        await inputs.nth(1).fill(value)
        await page.get_by_test_id("add-item").click()
    else:
        await table.first.locator("input").nth(1).fill(value)
    async with page.expect_response(lambda answer: "/properties" in answer.url) as put:
        await page.get_by_test_id("submit").click()
    assert (await put.value).status == 200


async def _refused(person: Person, since: float) -> str:
    """Start kernels until one is refused; its message. One that isn't is ended again."""
    while time.monotonic() - since < 30:
        try:
            kernel = await person.start_kernel("python")
        except RequestFailedError as error:
            return error.message
        await person.shut_down(kernel)
    raise AssertionError("no start was refused within 30 s")


async def _admitted(person: Person, since: float) -> None:
    """Start a kernel, as often as it takes."""
    while time.monotonic() - since < 30:
        with contextlib.suppress(RequestFailedError):
            await person.start_kernel("python")
            return
    raise AssertionError("no start was admitted within 30 s")
