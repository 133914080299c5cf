"""Ada, who works while others attack: a kernel with variables, and a cell that goes on printing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from demo.client import Person
from demo.connection import Connection
from hub_service.kinds import name_of, status_of, uid_of
from tests.attack.stage import Stage

_INTERVAL = 0.1
# More than this between two lines that the cell prints is noticed.
_STALL = 5.0
_CELL = f"""
import itertools, os, time
secret = 42
for number in itertools.count():
    if os.path.exists("/tmp/enough"):
        break
    print(number)
    time.sleep({_INTERVAL})
"""


class Bystander:
    """Her kernel, and what she notices."""

    def __init__(self, connection: Connection, before: tuple[str, ...]) -> None:
        self.before = before
        self.noticed: list[str] = []
        self._connection = connection
        self._lines = 0
        self._last = time.monotonic()

    def look(self, case: str) -> bool:
        """Whether she was left alone until now; what wasn't is put down to that case."""
        silence = time.monotonic() - self._last
        if silence > _STALL:
            self.noticed.append(f"{case}: her cell printed nothing for {silence:.1f} s")
            self._last = time.monotonic()
            return False
        return True

    async def listen(self, cell: str) -> None:
        """Read what the cell prints, until its end."""
        while True:
            message = await self._connection.receive(timeout=60)
            if (message.get("parent_header") or {}).get("msg_id") != cell:
                continue
            kind = message["header"]["msg_type"]
            if kind == "stream":
                for line in message["content"]["text"].split():
                    if line != str(self._lines):
                        self.noticed.append(f"her cell printed {line!r} after {self._lines} lines")
                    self._lines += 1
                self._last = time.monotonic()
            elif kind == "error":
                self.noticed.append(f"her cell ended with {message['content']['ename']}")
            elif kind == "execute_reply":
                return


@asynccontextmanager
async def somebody_works(stage: Stage) -> AsyncIterator[Bystander]:
    """Ada's cell runs for as long as the block lasts; at its end she looks whether all is there."""
    async with stage.ada.connect(stage.victim) as connection:
        cell = await connection.submit(_CELL)
        bystander = Bystander(connection, await _state(stage))
        listening = asyncio.create_task(bystander.listen(cell))
        try:
            yield bystander
        finally:
            with contextlib.suppress(Exception):
                await _enough(stage)
            try:
                await asyncio.wait_for(listening, 30)
            except (TimeoutError, ConnectionError) as error:
                bystander.noticed.append(f"her cell does not end: {type(error).__name__} {error}")
            await _look_around(stage, bystander)


async def _look_around(stage: Stage, bystander: Bystander) -> None:
    found = await _run(stage.ada, stage.victim, "print(secret)")
    if found != "42\n":
        bystander.noticed.append(f"her variable is {found!r}")
    after = await _state(stage)
    if after != bystander.before:
        bystander.noticed.append(f"her kernel was {bystander.before} and is {after}")
    kernels: list[dict[str, Any]] = await stage.ada.kernels()
    if [model["id"] for model in kernels] != [stage.victim]:
        bystander.noticed.append(f"she has the kernels {kernels}")


async def _run(person: Person, kernel: str, code: str) -> str:
    try:
        return (await person.run(kernel, code, timeout=20)).text
    except (TimeoutError, ConnectionError) as error:
        return f"{type(error).__name__} {error}"


async def _enough(stage: Stage) -> None:
    from demo.install import kubectl

    pod = status_of(await stage.resource(stage.victim))["podName"]
    await asyncio.to_thread(
        kubectl, "-n", stage.namespace, "exec", pod, "-c", "kernel", "--", "touch", "/tmp/enough"
    )


async def _state(stage: Stage) -> tuple[str, ...]:
    item = await stage.resource(stage.victim)
    status = status_of(item)
    restarts = str((status.get("restart") or {}).get("id"))
    return name_of(item), uid_of(item), str(status.get("podIP")), str(status["phase"]), restarts
