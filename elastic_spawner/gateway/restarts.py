"""How a kernel's process comes to be another one: in its pod, or with a new pod.

Its user asks for it, here or at another process of the gateway; or the hub's service does, for a
kernel that does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from elastic_spawner.gateway import endings, kernel_resource
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.kernel_resource import Ending
from elastic_spawner.gateway.proxy import KernelProxy
from hub_service import timestamps
from hub_service.kinds import IDLE, Reason

if TYPE_CHECKING:
    from elastic_spawner.gateway.kernelmanager import ElasticKernelManager

# Seconds that a process has to end by itself for a restart. One that is busy sees to the request
# only once its cell is done, which is what the restart is against.
_GRACE, _GRACE_BUSY = 3, 1


class Restarts:
    """One kernel's; one at a time."""

    def __init__(self, manager: ElasticKernelManager) -> None:
        self._manager = manager
        self._task: asyncio.Task[None] | None = None
        self._is_mute = False  # the process that was followed has not answered in its time

    @property
    def going_on(self) -> bool:
        """Whether the kernel moves to another process now."""
        return self._task is not None

    async def restart(self, proxy: KernelProxy) -> None:
        """Start the process again, or wait for the restart that goes on. KernelError."""
        if self._task is None:
            self._begin(self._restart(proxy))
        assert self._task is not None  # noqa: S101 - just begun
        await asyncio.shield(self._task)

    def follow_pod(self, proxy: KernelProxy, incarnation: int) -> None:
        """Move to a pod that another process of the gateway has asked for."""
        self._manager.ended = None
        self._begin(self._move(proxy.follow(incarnation, self._timeout)))

    def follow_restart(self, proxy: KernelProxy, restart_id: str) -> None:
        """Move to a process that somebody else has started in the pod.

        Another process of the gateway, or the hub's service.
        """
        self._begin(self._follow_restart(proxy, restart_id))

    @property
    def _timeout(self) -> float:
        return self._manager.started_as.timeout

    def _begin(self, restart: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(restart)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # told to whoever asked for the restart
        self._manager.look()
        self._manager.clients.resume()

    async def _restart(self, proxy: KernelProxy) -> None:
        manager = self._manager
        grace = _GRACE if manager.monitor.activity.execution_state == IDLE else _GRACE_BUSY
        if manager.ended is None:
            manager.request_shutdown(restart=True)
        await self._move(self._new_process(proxy, grace))

    async def _new_process(self, proxy: KernelProxy, grace: int) -> None:
        """In the kernel's pod if it has one and that can be done, else in a new one."""
        manager = self._manager
        if manager.ended is None:
            problem = await proxy.restart_in_place(grace, self._timeout)
        else:
            problem = manager.ended.message
        if problem is not None:
            manager.log.info("kernel %s gets a new pod: %s", manager.kernel_id, problem)
            await proxy.replace_pod(self._timeout)

    async def _follow_restart(self, proxy: KernelProxy, restart_id: str) -> None:
        manager = self._manager
        told = kernel_resource.restart_of(proxy.resource.current())
        if told.get("cause") == Reason.HEARTBEAT_LOST and not manager.ended:
            manager.clients.hold()
            if problem := await proxy.delivered(restart_id):
                # The process is still the one that does not answer, and the connections to it are
                # what shows that; to new ones there would be nobody to say so.
                manager.log.warning("kernel %s: %s", manager.kernel_id, problem)
                return
            message = endings.of_process(str(told.get("message")), manager.monitor.activity)
            manager.tell_restarted(message)
        await self._move(self._other_process(proxy, restart_id))
        if self._is_mute:
            manager.monitor.heart.never_answered(timestamps.now())

    async def _other_process(self, proxy: KernelProxy, restart_id: str) -> None:
        problem = await proxy.delivered(restart_id)
        self._is_mute = False
        if not problem:
            problem = await proxy.answered(self._timeout)
            self._is_mute = problem is not None
        if problem:
            self._manager.log.warning("kernel %s: %s", self._manager.kernel_id, problem)

    async def _move(self, process: Coroutine[Any, Any, None]) -> None:
        """Let go of the present process, and connect to another once that answers."""
        manager = self._manager
        manager.disconnect()
        manager.monitor.reset()
        try:
            await process
        except KernelError as error:
            if not manager.shutting_down:
                manager.ended = None
                message = f"The kernel could not be restarted. {error.message} Start a new one."
                manager.end(Ending(error.reason, message))
            raise
        if not manager.shutting_down:
            await manager.serve_again()
