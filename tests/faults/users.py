"""Users with open notebooks: cells through the hub's proxy and their real notebook servers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp

from demo.client import Person, RequestFailedError
from demo.connection import Connection
from demo.install import Installation
from hub_service.names import kernel_name
from tests.faults import model
from tests.faults.model import Kernel, Outcome

# Slot of a user's kernel → the kernelspec and the GPUs that it holds.
SLOTS = (("python-gpu", 1), ("python", 0))
# Seconds after which somebody who waits for anything is said to have waited in vain.
PATIENCE = 180.0
_CELL_BEGINS = 60.0
_ASK_AGAIN = 0.5
_DEAD = frozenset({"dead", "restarting", "autorestarting"})
_TROUBLE = (RequestFailedError, aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass
class _Notebook:
    """A notebook that is open on a kernel."""

    connection: Connection
    stack: AsyncExitStack


@dataclass
class User:
    """Somebody with a running notebook server. `opened` makes one."""

    person: Person
    _notebooks: dict[str, _Notebook] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The user's name at the hub."""
        return self.person.name

    async def start(self, slot: int) -> Kernel:
        """Start a kernel, again and again where that fails, as a user would. TimeoutError."""
        spec, gpus = SLOTS[slot]
        refusal: Exception | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        identity = await self.person.start_kernel(spec)
                        name = kernel_name(identity)
                        kernel = Kernel(self.name, slot, gpus, name, secrets.token_hex(4))
                        if await self._is_prepared(kernel):
                            return kernel
                        await self.shut_down(kernel)
                    except _TROUBLE as error:
                        refusal = error
                    await asyncio.sleep(_ASK_AGAIN)
        except TimeoutError:
            raise TimeoutError(f"{self.name} could not start {spec}: {refusal}") from refusal

    async def _is_prepared(self, kernel: Kernel) -> bool:
        """Give a new kernel its identity; whether it has taken it."""
        try:
            await self._open(kernel)
            sent = await self._connection(kernel).submit(model.first_cell(kernel))
            outcome, _ = await self._outcome(kernel, sent, wanted="", patience=PATIENCE)
        except (aiohttp.ClientError, ConnectionError):
            return False
        return outcome is Outcome.RESULT

    async def begin(self, kernel: Kernel, number: int, seconds: float) -> str:
        """Send a cell and wait until it runs; returns the message's id. TimeoutError."""
        connection = self._connection(kernel)
        sent = await connection.submit(model.cell(number, seconds))
        async with asyncio.timeout(_CELL_BEGINS):
            while True:
                message = await connection.receive(timeout=_CELL_BEGINS)
                is_ours = (message.get("parent_header") or {}).get("msg_id") == sent
                if is_ours and "begin" in message["content"].get("text", ""):
                    return sent

    async def outcome(self, kernel: Kernel, sent: str) -> Outcome:
        """What is seen of a running cell, to which the result of `kernel` would belong."""
        found, _ = await self._outcome(kernel, sent, f"total {kernel.total}", PATIENCE)
        return found

    async def ask(self, kernel: Kernel) -> tuple[str, bool]:
        """What a kernel says to the question for its variables, and whether no question hung.

        The notebook that is open asks; where that ends without an answer, one that is opened anew.
        """
        limit = time.monotonic() + PATIENCE
        while True:
            said, outcome = "", Outcome.CLOSED
            try:
                if kernel.name not in self._notebooks:
                    await self._open(kernel)
                sent = await self._connection(kernel).submit(model.QUESTION)
                outcome, said = await self._outcome(kernel, sent, "state", PATIENCE)
            except (aiohttp.ClientError, ConnectionError):
                pass
            if outcome is Outcome.RESULT:
                return said[said.find("state") :].strip(), True
            if outcome in (Outcome.DEATH, Outcome.SILENCE) or time.monotonic() > limit:
                return said.strip(), outcome is not Outcome.SILENCE
            await self._close(kernel)
            await asyncio.sleep(_ASK_AGAIN)

    async def shut_down(self, kernel: Kernel) -> None:
        """Shut a kernel down, again and again where that fails; gone is as good. TimeoutError."""
        await self._close(kernel)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.person.shut_down(kernel.name.removeprefix("kernel-"))
                except RequestFailedError as error:
                    if error.status == 404:
                        return
                except aiohttp.ClientError:
                    pass
                else:
                    return
                await asyncio.sleep(_ASK_AGAIN)

    async def refused(self, slot: int) -> str:
        """Start one kernel too many: the refusal's words; empty where there was none."""
        try:
            identity = await self.person.start_kernel(SLOTS[slot][0])
        except RequestFailedError as error:
            return error.message or str(error)
        await self.person.shut_down(identity)
        return ""

    async def leave(self) -> None:
        """Close all notebooks."""
        for notebook in self._notebooks.values():
            await notebook.stack.aclose()
        self._notebooks.clear()

    async def forget(self, kernel: Kernel) -> None:
        """Close the notebook of a kernel that is no more."""
        await self._close(kernel)

    def _connection(self, kernel: Kernel) -> Connection:
        return self._notebooks[kernel.name].connection

    async def _open(self, kernel: Kernel) -> None:
        await self._close(kernel)
        stack = AsyncExitStack()
        identity = kernel.name.removeprefix("kernel-")
        connection = await stack.enter_async_context(self.person.connect(identity))
        self._notebooks[kernel.name] = _Notebook(connection, stack)

    async def _close(self, kernel: Kernel) -> None:
        if notebook := self._notebooks.pop(kernel.name, None):
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await notebook.stack.aclose()

    async def _outcome(
        self, kernel: Kernel, sent: str, wanted: str, patience: float
    ) -> tuple[Outcome, str]:
        """Follow a cell to its end; what it printed, and whether `wanted` was among that."""
        text, replied, idle, limit = "", "", False, time.monotonic() + patience
        try:
            while True:
                message = await self._connection(kernel).receive(
                    timeout=max(limit - time.monotonic(), 0.01)
                )
                content, kind = message["content"], message["header"]["msg_type"]
                state = content.get("execution_state") if kind == "status" else None
                if state in _DEAD:
                    return Outcome.DEATH, text
                if (message.get("parent_header") or {}).get("msg_id") != sent:
                    continue
                if kind == "stream":
                    text += content["text"]
                elif kind == "execute_reply":
                    replied = content["status"]
                    # Output and reply come over two channels: the last of it may be on its way.
                    limit = min(limit, time.monotonic() + 2)
                idle |= state == "idle"  # what it printed comes before
                if replied == "ok" and idle and wanted in text:
                    return Outcome.RESULT, text
                if replied and replied != "ok":
                    return Outcome.TOLD, text
        except TimeoutError:
            if not replied:
                return Outcome.SILENCE, text
            return (Outcome.RESULT if wanted in text else Outcome.BARE), text
        except ConnectionError:
            return Outcome.CLOSED, text


async def opened(installation: Installation, name: str, stack: AsyncExitStack) -> User:
    """Somebody whose notebook server runs; it is stopped when the stack is closed."""
    person = await stack.enter_async_context(Person(installation.url, name, installation.password))
    async with asyncio.timeout(PATIENCE):
        while True:  # the proxy may know a hub that was replaced just now by its old address
            try:
                await person.login()
                break
            except (RequestFailedError, aiohttp.ClientError):
                await asyncio.sleep(_ASK_AGAIN)
    stack.push_async_callback(person.stop_server)
    await person.start_server()
    user = User(person)
    stack.push_async_callback(user.leave)
    return user
