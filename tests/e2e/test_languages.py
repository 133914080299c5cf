"""Kernels of another language: an image and a command, no more. R stands for them."""

from __future__ import annotations

import time

from demo.connection import Connection
from hub_service.kube.reflector import Reflector
from tests.e2e.support import House

SECONDS = 60.0


async def until_printed(connection: Connection, text: str) -> None:
    while True:
        message = await connection.receive(timeout=SECONDS)
        if text in message["content"].get("text", ""):
            return


async def test_r_is_interrupted_keeps_its_variables_restarts_and_ends(
    house: House, kernels: Reflector, namespace: str
) -> None:
    person = await house.open("ada")
    kernel = await person.start_kernel("r")
    async with person.connect(kernel) as connection:
        assert (await connection.execute("x <- 41; cat(R.version$language)")).text == "R"
        # R asleep, R at work, and R waiting for a program: once that runs, it is what is
        # interrupted, and R goes on with the cell, as it does in a terminal.
        for code, allowed in (
            ("Sys.sleep(600)", {"abort"}),
            ("repeat 1 + 1", {"abort"}),
            ('system("sleep 600")', {"ok", "abort"}),
        ):
            running = await connection.submit(f'cat("on it\\n"); flush.console(); {code}')
            await until_printed(connection, "on it")
            started = time.monotonic()
            await person.interrupt(kernel)
            interrupted = await connection.result(running, timeout=20)
            print(f"{code}: interrupted after {time.monotonic() - started:.2f} s")
            assert interrupted.status in allowed
            assert (await connection.execute("cat(x + 1)")).text == "42"

    await person.restart(kernel)

    assert (await person.run(kernel, 'cat(exists("x"))')).text == "FALSE"
    await person.shut_down(kernel)
    key = (namespace, f"kernel-{kernel}")
    await kernels.wait_for(key, lambda item: item is None, SECONDS)
