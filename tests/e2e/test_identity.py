"""Who one is, is what the hub says; what is another's can't be seen, reached or ended."""

from __future__ import annotations

import asyncio

import pytest

from demo.client import RequestFailedError
from hub_service.kube.client import Cluster
from tests.e2e.support import House, OneKernel

NAMES = ["root", "a@b.org", "zoë", "l" + "o" * 66 + "ng"]


async def test_any_user_name_works(house: House, kernel_of: OneKernel) -> None:
    for person in await asyncio.gather(*map(house.open, NAMES)):
        kernel = await person.start_kernel("python")

        cell = await person.run(kernel, "import os; print(os.environ['KERNEL_USERNAME'])")

        assert cell.text == f"{person.name}\n"
        assert (await kernel_of(person.name))["spec"]["owner"] == person.name


@pytest.mark.both_modes
async def test_another_users_kernel_is_out_of_reach(house: House) -> None:
    ada, grace = await house.open("ada"), await house.open("grace")
    kernel = await ada.start_kernel("python")
    await ada.run(kernel, "secret = 42")

    assert kernel not in [model["id"] for model in await grace.kernels()]
    for attempt in (grace.interrupt, grace.restart, grace.shut_down):
        with pytest.raises(RequestFailedError) as refusal:
            await attempt(kernel)
        # The notebook server turns some of the gateway's answers into a 500 of its own.
        assert refusal.value.status in (403, 404, 500), attempt
    with pytest.raises(Exception, match=r"40[34]"):
        await grace.run(kernel, "print(secret)", timeout=10)

    assert (await ada.run(kernel, "print(secret)")).text == "42\n"


async def test_the_service_lists_ones_own_kernels_and_an_admin_all(
    house: House, cluster: Cluster
) -> None:
    ada, grace = await house.open("ada"), await house.open("grace")
    admin = await house.enter("admin")
    await admin.login()
    first, second = await ada.start_kernel("python-gpu"), await grace.start_kernel("python")

    own = await ada.service("api/kernels")
    every = await admin.service("api/kernels")

    assert [k["id"] for k in own] == [first]
    assert {k["id"]: k["owner"] for k in every} == {first: "ada", second: "grace"}
    assert own[0]["gpus"] == 1
    assert (await ada.service("health"))["ready"] is True
    # What others had is an administrator's to see; there is a minute until it is written.
    assert (await ada.service("api/ledger"))["unit"] == "GPU-seconds"
    assert (await admin.service("api/ledger", by="user,group"))["by"] == ["user", "group"]
    with pytest.raises(RequestFailedError) as refusal:
        await ada.service("api/ledger", user="grace")
    assert refusal.value.status == 403
