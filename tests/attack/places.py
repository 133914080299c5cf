"""Where an attacker stands: a pod, with agent.py running in it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_AGENT = Path(__file__).with_name("agent.py").read_text()
_LIMIT = 10_000_000
_PATIENCE = 90.0


class Place:
    """A pod that runs the agent's functions, one after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    async def run(self, function: str, **arguments: Any) -> dict[str, Any]:
        """What one of the agent's functions returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn, asyncio.timeout(_PATIENCE):
            self._process.stdin.write(json.dumps([function, arguments]).encode() + b"\n")
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the agent has gone: {function}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def in_pod(namespace: str, pod: str, container: str) -> AsyncIterator[Place]:
    """The agent in a container, by the cluster's exec; as whoever has a terminal there."""
    kubectl = os.environ.get("KUBECTL") or shutil.which("kubectl") or "kubectl"
    command = ["-n", namespace, "exec", "-i", pod, "-c", container, "--", "python3", "-c", _AGENT]
    process = await asyncio.create_subprocess_exec(
        kubectl,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LIMIT,
    )
    try:
        yield Place(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
