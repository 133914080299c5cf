"""Runs what a kernel's spec names to be run before it is culled, for the service that culls it.

What is sent for the kernel waits meanwhile (sealing.py). It is no activity of its user: messages
with such an id are left out of it, in every process of the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from elastic_spawner.gateway.errors import KernelError
from hub_service.kernels.saving import Hook, Outcome

if TYPE_CHECKING:
    from elastic_spawner.gateway.kernelmanager import ElasticKernelManager

_ID_PREFIX = "elastic-before-cull-"
# Seconds for the end of what it prints, once it has answered.
_OUTPUT_WITHIN = 2.0
# Characters of what it prints that are told.
_MOST_TOLD = 1000


def is_ours(message_id: object) -> bool:
    """Whether a message is one of the gateway's own before a cull."""
    return isinstance(message_id, str) and message_id.startswith(_ID_PREFIX)


def is_only_ours(parts: Sequence[bytes]) -> bool:
    """Whether clients need not see a message, by its parts: what such a request prints.

    That the kernel is busy with it, they do see.
    """
    header, parent = parts[0], parts[1]
    return _ID_PREFIX.encode() in parent and b'"status"' not in header


class Output:
    """What such a request prints, as the gateway's own connection hears it."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = asyncio.Event()

    def hear(self, kind: str, content: dict[str, Any]) -> None:
        """A message that answers the request."""
        if kind == "stream" and len(self.text) < _MOST_TOLD:
            self.text = (self.text + str(content.get("text", "")))[:_MOST_TOLD]
        if kind == "status" and content.get("execution_state") == "idle":
            self.ended.set()


async def save(manager: ElasticKernelManager, hook: Hook) -> Outcome:
    """Have an idle kernel run its hook, for as long as that may take."""
    output = Output()
    message_id = _ID_PREFIX + uuid4().hex
    manager.monitor.listen(message_id, output)
    shell = manager.connect_shell()
    replied: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def on_reply(frames: list[bytes]) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # not the kernel's
            _, parts = manager.session.feed_identities(frames)
            message = manager.session.deserialize(parts)
            if message["parent_header"].get("msg_id") == message_id and not replied.done():
                replied.set_result(message["content"])

    shell.on_recv(on_reply)
    try:
        async with asyncio.timeout(hook.timeout):
            manager.session.send(shell, _request(manager, hook.code, message_id))
            reply = await replied
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(output.ended.wait(), _OUTPUT_WITHIN)
        return outcome(reply, output.text)
    except TimeoutError:
        if manager.kernel_spec.interrupt_mode == "message":
            # Somebody may have kept the kernel meanwhile.
            with contextlib.suppress(KernelError):
                await manager.interrupt_kernel()
        return Outcome(False, f"it did not end within {hook.timeout} seconds.")
    finally:
        manager.monitor.listen(message_id, None)
        shell.close()


def outcome(reply: dict[str, Any], printed: str) -> Outcome:
    """What an execute_reply and the output come to."""
    if reply.get("status") == "ok":
        return Outcome(True, printed.strip())
    error = f"{reply.get('ename', 'an error')}: {reply.get('evalue', '')}".rstrip(": ")
    return Outcome(False, error[:_MOST_TOLD])


def _request(manager: ElasticKernelManager, code: str, message_id: str) -> dict[str, Any]:
    content = {
        "code": code,
        "silent": True,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }
    message: dict[str, Any] = manager.session.msg("execute_request", content)
    message["header"]["msg_id"] = message["msg_id"] = message_id
    return message
