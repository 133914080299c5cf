"""The websockets that are connected to one kernel, and what is done with all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol


class KernelClient(Protocol):
    """A websocket that is connected to a kernel."""

    def tell_ended(self, message: str, cell: Any) -> None:
        """Write the message to the output of `cell`, the header of the running or last one."""

    def show(self, kind: str, content: dict[str, Any], cell: Any) -> None:
        """Show something in the output of `cell`, by a message of that type."""

    def waits(self) -> bool:
        """Whether a cell is held back."""

    def hold(self) -> None:
        """Let what the client sends wait."""

    def disconnect(self) -> None:
        """Let go of the pod's address: it may be another kernel's soon."""

    async def reconnect(self) -> None:
        """Connect to the kernel's new pod; returns when it answers there."""

    def close(self) -> asyncio.Future[None]:
        """Send the client away; done once it has gone."""

    def resume(self) -> None:
        """The kernel has a pod, or won't have one: go on with what was held back."""

    def drop(self) -> None:
        """Don't run what is held back."""

    def show_progress(self, text: str) -> None:
        """Say what the kernel's start waits for now."""


class Clients:
    """A kernel's. What is told one of them may make others come or go."""

    def __init__(self) -> None:
        self._clients: set[KernelClient] = set()
        self._entering: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[KernelClient]:
        return iter(list(self._clients))

    def add(self, client: KernelClient) -> None:
        """It has connected."""
        self._clients.add(client)

    def discard(self, client: KernelClient) -> None:
        """It has gone."""
        self._clients.discard(client)

    def tell_ended(self, message: str, cell: Any) -> None:
        """Write the message to the output of `cell`."""
        for client in self:
            client.tell_ended(message, cell)

    def show(self, kind: str, content: dict[str, Any], cell: Any) -> None:
        """Show something in the output of `cell`, by a message of that type."""
        for client in self:
            client.show(kind, content, cell)

    def any_waits(self) -> bool:
        """Whether a cell is held back."""
        return any(client.waits() for client in self)

    def show_progress(self, text: str) -> None:
        """Say what the kernel's start waits for now."""
        for client in self:
            client.show_progress(text)

    def hold(self) -> None:
        """Let what they send wait."""
        for client in self:
            client.hold()

    def drop(self) -> None:
        """Don't run what is held back."""
        for client in self:
            client.drop()

    def resume(self) -> None:
        """Go on with what was held back."""
        for client in self:
            client.resume()

    def disconnect(self) -> None:
        """Let go of the pod's address."""
        for client in self:
            client.disconnect()

    async def reconnect(self) -> None:
        """Connect all to the kernel's pod."""
        await asyncio.gather(*(client.reconnect() for client in self))

    def let_in(self) -> None:
        """Connect each to the kernel's pod, and let it go on then."""
        for client in self:
            task = asyncio.create_task(_let_in(client))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)


async def _let_in(client: KernelClient) -> None:
    await client.reconnect()
    client.resume()
