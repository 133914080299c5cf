"""Somebody at a notebook server without a hub, by way of `kubectl port-forward`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator

from yarl import URL

from demo.client import Person

_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")


class Visitor(Person):
    """A browser at the one server that a URL leads to; there is nobody to log in to but that."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "visitor", "")

    def _server(self, server: str = "") -> URL:  # noqa: ARG002 - there is only one
        return self.base

    async def login(self, token: str = "") -> None:
        """Open the first page, with the token in its address as people paste it."""
        page = self.base / "lab"
        await self._text("GET", page.with_query(token=token) if token else page)


@contextlib.asynccontextmanager
async def visit(namespace: str, notebook: str) -> AsyncIterator[Visitor]:
    """A visitor of a JupyterNotebook; the way there is open as long as the block lasts."""
    program = os.environ.get("KUBECTL") or shutil.which("kubectl") or "kubectl"
    process = await asyncio.create_subprocess_exec(
        program,
        *("-n", namespace, "port-forward", f"deploy/{notebook}", ":8888"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        found = _FORWARDING.match(await asyncio.wait_for(process.stdout.readline(), 30))
        if found is None:
            raise ConnectionError(f"kubectl port-forward to {notebook} did not begin")
        visitor = Visitor(f"http://127.0.0.1:{int(found[1])}")
        async with visitor:
            yield visitor
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
