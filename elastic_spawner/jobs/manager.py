"""A kernel manager as nbclient wants one, whose kernel is one of the gateway's.

papermill uses it through `engine.py`; anything else on nbclient by name:
`NotebookClient(notebook, kernel_manager_class=GatewayKernelManager)`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from jupyter_client.manager import AsyncKernelManager

from elastic_spawner.jobs.client import GatewayKernelClient
from elastic_spawner.jobs.gateway import Gateway
from elastic_spawner.jobs.settings import from_environment


class GatewayKernelManager(AsyncKernelManager):
    """Starts a kernel of the spec `kernel_name`, and ends it. One kernel in its life."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._gateway = Gateway(from_environment(os.environ))
        self._start: asyncio.Task[str] | None = None
        self._end: asyncio.Task[None] | None = None
        self._kernel: str | None = None

    @property
    def ipykernel(self) -> bool:
        """No: arguments for a local IPython mean nothing here."""
        return False

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel was started."""
        return self._kernel is not None

    async def start_kernel(self, **_: Any) -> None:
        """Start a kernel; it may still be starting when this returns. Raises GatewayError.

        Working directory and extra arguments have no meaning for a kernel in a pod of its own.
        """
        self._start = asyncio.create_task(self._gateway.start(self.kernel_name))
        self._kernel = await self._start

    async def shutdown_kernel(self, *_: Any, **__: Any) -> None:
        """End the kernel, or give up its start; who calls while it ends waits for the same."""
        if self._end is None:
            self._end = asyncio.create_task(self._shut_down())
        await asyncio.shield(self._end)

    async def is_alive(self) -> bool:
        """Whether there is something to shut down: a kernel, or one that is starting."""
        starting = self._start is not None and not self._start.done()
        return starting or (self._kernel is not None and self._end is None)

    async def interrupt_kernel(self) -> None:
        """Interrupt the running cell. Raises GatewayError."""
        if self._kernel is not None:
            await self._gateway.interrupt(self._kernel)

    async def cleanup_resources(self, *_: Any, **__: Any) -> None:
        """End what may still be there: nbclient calls this last."""
        if await self.is_alive():
            await self.shutdown_kernel()

    def client(self, **_: Any) -> GatewayKernelClient:
        """A client of the kernel."""
        if self._kernel is None:
            raise RuntimeError("No kernel is running!")
        return GatewayKernelClient(self._gateway, self._kernel)

    async def _shut_down(self) -> None:
        if self._start is not None and not self._start.done():
            self._start.cancel()
            await asyncio.wait([self._start])
        if self._start is not None and not self._start.cancelled() and not self._start.exception():
            await self._gateway.delete(self._start.result())
