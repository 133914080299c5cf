"""A kernel client as nbclient wants one, whose channels lead through the gateway."""

from __future__ import annotations

from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient

from elastic_spawner.jobs.connection import CHANNELS, Connection
from elastic_spawner.jobs.gateway import Gateway


class Channel:
    """One of a kernel's channels."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. Raises DeadKernelError."""
        self._connection.send(self._name, message)

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message; raises Empty after `timeout` seconds, DeadKernelError."""
        return await self._connection.receive(self._name, timeout)


class GatewayKernelClient(AsyncKernelClient):
    """A client of one kernel of the gateway's."""

    def __init__(self, gateway: Gateway, kernel_id: str) -> None:
        super().__init__()
        self._gateway, self._kernel_id = gateway, kernel_id
        self._connection = Connection(gateway, kernel_id)
        self._channels = {name: Channel(self._connection, name) for name in CHANNELS}

    async def start_channels(self, *_: Any, **__: Any) -> None:
        """Connect. Raises GatewayError."""
        await self._connection.open(self.session.session)

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ARG002
        """Wait until the kernel answers. Raises GatewayError.

        For as long as the run's settings say; nbclient's time-out has no effect.
        """
        await self._gateway.started(self._kernel_id)

    def stop_channels(self) -> Any:
        """Disconnect; to be awaited."""
        return self._connection.close()

    @property
    def channels_running(self) -> bool:
        """Whether messages can come and go."""
        return self._connection.is_open

    async def is_alive(self) -> bool:
        """Whether the kernel has not ended, as far as the gateway has said."""
        return self._connection.is_open

    @property
    def shell_channel(self) -> Channel:
        """Requests, and the replies to them."""
        return self._channels["shell"]

    @property
    def iopub_channel(self) -> Channel:
        """What the kernel publishes."""
        return self._channels["iopub"]

    @property
    def control_channel(self) -> Channel:
        """Requests that don't wait for others."""
        return self._channels["control"]

    @property
    def stdin_channel(self) -> Channel:
        """Requests of the kernel for input."""
        return self._channels["stdin"]
