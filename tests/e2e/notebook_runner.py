"""Runs a notebook through somebody's notebook server, with nbclient.

As a program: `python -m tests.e2e.notebook_runner IN OUT KERNEL` in an environment whose
JUPYTER_GATEWAY_URL is the notebook server's URL and JUPYTER_GATEWAY_AUTH_TOKEN a token for it.
jupyter_server's client for gateways speaks to any Jupyter server; a process of its own keeps its
process-wide state out of the tests.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import websocket
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelClient, GatewayKernelManager
from nbclient import NotebookClient

from demo.client import Person


class KernelClient(GatewayKernelClient):
    """Opens its websocket with the token, which the base class leaves out."""

    async def start_channels(self, **kwargs: Any) -> None:
        connect, token = websocket.create_connection, GatewayClient.instance().auth_token

        def with_token(url: str, **options: Any) -> websocket.WebSocket:
            return connect(url, header=[f"Authorization: token {token}"], **options)

        websocket.create_connection = with_token
        try:
            await super().start_channels(**kwargs)
        finally:
            websocket.create_connection = connect


class KernelManager(GatewayKernelManager):
    """Starts the kernel that was asked for; the base class starts `python3`."""

    client_factory = KernelClient

    async def start_kernel(self, **kwargs: Any) -> None:
        kwargs.setdefault("kernel_name", self.kernel_name)
        await super().start_kernel(**kwargs)

    async def is_alive(self) -> bool:
        return bool(self.has_kernel and await self.refresh_model())

    _async_is_alive = is_alive


async def run_notebook(
    person: Person, notebook: nbformat.NotebookNode, *, kernel_name: str, timeout: float = 180
) -> nbformat.NotebookNode:
    """Run all cells on a kernel of that spec; returns the notebook with its outputs."""
    environment = {
        **os.environ,
        "JUPYTER_GATEWAY_URL": str(person.server_url),
        "JUPYTER_GATEWAY_AUTH_TOKEN": await person.api_token(),
        "JUPYTER_GATEWAY_REQUEST_TIMEOUT": "120",
    }
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "in.ipynb"), Path(folder, "out.ipynb")
        nbformat.write(notebook, source)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __spec__.name if __spec__ else __name__,
            source,
            result,
            kernel_name,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()
        return nbformat.read(result, as_version=4)


def main(source: str, result: str, kernel_name: str) -> None:
    notebook = nbformat.read(source, as_version=4)
    client = NotebookClient(
        notebook, kernel_manager_class=KernelManager, kernel_name=kernel_name, timeout=120
    )
    nbformat.write(client.execute(), result)


if __name__ == "__main__":
    main(*sys.argv[1:])
