"""Running a command in a container of a pod, over the API server's websocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from hub_service.kube.access import Access
from hub_service.kube.errors import ApiError, unanswered

# The server's name for messages whose first byte says which stream they belong to.
_PROTOCOL = "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS = 0, 1, 2, 3
_MOST_OUTPUT = 4096


@dataclass(frozen=True)
class Executed:
    """What became of a command: its exit code, and what it printed (at most 4 KiB of it)."""

    exit_code: int
    output: str


async def execute(
    access: Access,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    timeout: float,
    stdin: bytes | None = None,
) -> Executed:
    """Run `command` and wait for its end.

    stdin: what it can read. It is not told that there is no more to come.

    Raises ApiError: with the server's status where it refuses, 500 where the command could not be
    started, 0 (reason Timeout) where it has not ended after `timeout` seconds; it may go on then.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    if stdin is not None:
        query.append(("stdin", "true"))
    query += [("command", word) for word in command]
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec?{urlencode(query)}"
    output = bytearray()
    try:
        async with (
            asyncio.timeout(timeout),
            access.session.ws_connect(
                access.url(path),
                headers=await access.authorization(),
                protocols=[_PROTOCOL],
                **access.routing,
            ) as socket,
        ):
            if stdin is not None:
                await socket.send_bytes(bytes([_STDIN]) + stdin)
            async for message in socket:
                if not isinstance(message.data, bytes) or not message.data:
                    continue
                channel, data = message.data[0], message.data[1:]
                if channel == _STATUS:
                    return Executed(_exit_code(data), output.decode("utf-8", "replace"))
                if channel in (_STDOUT, _STDERR):
                    output += data[: _MOST_OUTPUT - len(output)]
    except aiohttp.WSServerHandshakeError as error:
        # The server's sentence is in a body that this exception does not have.
        problem = f"running a command in pod {pod} was refused with HTTP status {error.status}"
        raise ApiError(error.status, "Refused", problem) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise unanswered(error) from error
    raise ApiError(0, "Unreachable", "the connection to the command was closed before its end")


def _exit_code(data: bytes) -> int:
    """The exit code in the Status object that ends the stream."""
    try:
        status: dict[str, Any] = json.loads(data)
        if status.get("status") == "Success":
            return 0
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
        raise ApiError(500, str(status.get("reason")), str(status.get("message")))
    except (ValueError, KeyError, AttributeError) as error:
        raise ApiError(0, "MalformedAnswer", "the end of a command can't be read") from error
