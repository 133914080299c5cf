"""50 MB in one message, by the whole path: kernel, gateway, notebook server, the hub's proxy."""

from __future__ import annotations

import asyncio

from tests.e2e.support import House

SHOW = "from IPython.display import display\ndisplay({'text/plain': 'x' * %d}, raw=True)"

COMM = "create_comm(target_name='widget', data={}, buffers=[b'\\xff' * 20_000_000])"


async def test_outputs_of_50_mb_pass(house: House) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python")

    async with person.connect(kernel) as connection:
        shown = await connection.execute(SHOW % 50_000_000)
        assert shown.status == "ok"
        assert len(shown.text) == 50_000_000

        too_large = await connection.execute(SHOW % 120_000_000)
        assert "An output of 120.0 MB is not shown" in too_large.text
        assert (await connection.execute("print('goes on')")).text == "goes on\n"


async def test_binary_messages_pass(house: House) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("python")

    async with person.connect(kernel) as connection:
        await connection.submit(f"from comm import create_comm\n{COMM}")
        async with asyncio.timeout(60):
            while (await connection.receive(timeout=60))["msg_type"] != "binary":
                pass
        assert (await connection.execute("print('goes on')")).text == "goes on\n"
