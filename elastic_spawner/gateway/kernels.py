"""All kernels of this gateway: starting, finding, ending them; to each caller only their own."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from enterprise_gateway.services.kernels.remotemanager import RemoteMappingKernelManager
from jupyter_server.prometheus.metrics import KERNEL_CURRENTLY_RUNNING_TOTAL
from traitlets import default
from zmq import MAX_SOCKETS

from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.kernelmanager import ElasticKernelManager
from elastic_spawner.gateway.proxy import KernelStart
from elastic_spawner.gateway.runtime import Runtime
from hub_service import kinds
from hub_service.kinds import Object
from hub_service.kube import Key
from hub_service.names import kernel_name

# A kernel that ended for good stays listed as dead this long, so that its notebook can say why.
_REMEMBER_ENDED = 3600.0
# A kernel takes three sockets, and each client of it four: with ZeroMQ's default of 1023 the
# gateway would be full at some 140 kernels.
_MAX_SOCKETS = 65_535


class ElasticMappingKernelManager(RemoteMappingKernelManager):
    """Kernels by id, each with its owner.

    Of Enterprise Gateway's own ways to start and end kernels none is used: they keep the request's
    environment on the manager they share, count limits per process, and poll.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._starts: set[asyncio.Future[None]] = set()

    @property
    def runtime(self) -> Runtime:
        """What the gateway's parts share."""
        runtime: Runtime = self.parent.runtime
        return runtime

    @default("context")
    def _context_default(self) -> Any:
        context = super()._context_default()
        context.set(MAX_SOCKETS, _MAX_SOCKETS)
        return context

    def _kernel_manager_class_default(self) -> str:
        return "elastic_spawner.gateway.kernelmanager.ElasticKernelManager"

    async def start_owned(self, start: KernelStart) -> ElasticKernelManager:
        """Start a kernel for its owner and return its manager once it answers. KernelError."""
        manager: ElasticKernelManager
        manager, name, kernel_id = self.pre_start_kernel(start.spec_name, {})
        task = asyncio.ensure_future(
            manager.start_kernel(env={"KERNEL_USERNAME": start.owner.name}, start=start)
        )
        self._starts.add(task)
        try:
            await task
        finally:
            self._starts.discard(task)
        self._kernels[kernel_id] = manager
        self._kernel_connections[kernel_id] = 0
        self._kernel_ports[kernel_id] = manager.ports
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=name).inc()
        self.log.info("kernel %s of %s started", kernel_id, start.owner.name)
        manager.look()  # it may have ended between its first answer and now
        return manager

    def owned(self, kernel_id: str, caller: Identity) -> ElasticKernelManager:
        """A kernel of the caller's; KernelError 404 where it is somebody else's, as for none."""
        manager: ElasticKernelManager | None = self._kernels.get(kernel_id)
        if manager is None or caller.is_service or manager.owner.name != caller.name:
            raise _unknown(kernel_id)
        return manager

    def owned_by(self, caller: Identity) -> list[ElasticKernelManager]:
        """The caller's kernels, the ended ones that are still remembered included."""
        return [
            manager
            for manager in self._kernels.values()
            if not caller.is_service and manager.owner.name == caller.name
        ]

    async def restart_owned(self, manager: ElasticKernelManager) -> None:
        """Restart a kernel with a new pod. KernelError."""
        await manager.restart_kernel()
        self._kernel_ports[manager.kernel_id] = manager.ports

    async def shutdown_kernel(self, kernel_id: str, *_: Any, **__: Any) -> None:
        """End a kernel and forget it."""
        manager: ElasticKernelManager = self._kernels[kernel_id]
        self._forget(kernel_id)
        await manager.shutdown_kernel()

    async def shutdown_all(self, *_: Any, **__: Any) -> None:
        """End every kernel, the starting ones too; errors are logged, and the rest goes on."""
        for start in self._starts:
            start.cancel()
        kernel_ids = self.list_kernel_ids()
        results = await asyncio.gather(
            *(self.shutdown_kernel(kernel_id) for kernel_id in kernel_ids), return_exceptions=True
        )
        for kernel_id, result in zip(kernel_ids, results, strict=True):
            if isinstance(result, BaseException):
                self.log.warning("kernel %s was not ended: %s", kernel_id, result)

    def seal(self, kernel_id: str, idle_before: datetime) -> ElasticKernelManager:
        """Seal a kernel if it is idle since then; the manager says whether it is `sealed`."""
        manager: ElasticKernelManager | None = self._kernels.get(kernel_id)
        if manager is None:
            raise _unknown(kernel_id)
        manager.seal(idle_before)
        return manager

    def on_kernel_change(self, _: Key, old: Object | None, new: Object | None) -> None:
        """The watch has news: listener of the cache of JupyterKernels."""
        resource = new or old
        if resource is None:
            return
        kernel_id = kinds.spec_of(resource).get("kernelID", "")
        manager: ElasticKernelManager | None = self._kernels.get(kernel_id)
        if manager is None or kernel_name(kernel_id) != kinds.name_of(resource):
            return
        manager.look()
        if new is None and manager.ended:
            asyncio.get_running_loop().call_later(
                _REMEMBER_ENDED, self._forget_ended, kernel_id, manager
            )

    def connections(self, kernel_id: str) -> int:
        """Websockets that are connected to a kernel."""
        return int(self._kernel_connections.get(kernel_id, 0))

    def notify_connect(self, kernel_id: str) -> None:
        """A websocket has connected."""
        super().notify_connect(kernel_id)
        self._kernels[kernel_id].report()

    def notify_disconnect(self, kernel_id: str) -> None:
        """A websocket has gone."""
        super().notify_disconnect(kernel_id)
        self._kernels[kernel_id].report()

    def start_buffering(self, kernel_id: str, session_key: str, channels: dict[str, Any]) -> None:
        """Keep what the kernel says for a client that has left, while there is one to listen to."""
        if self._kernels[kernel_id].reachable:
            super().start_buffering(kernel_id, session_key, channels)

    def stop_buffering(self, kernel_id: str) -> None:
        """Drop what was kept, and the connections that it came by."""
        if kernel_id in self._kernels:
            super().stop_buffering(kernel_id)

    def _forget(self, kernel_id: str) -> None:
        self.stop_buffering(kernel_id)
        manager = self._kernels.pop(kernel_id)
        self._kernel_connections.pop(kernel_id, None)
        self._kernel_ports.pop(kernel_id, None)
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=manager.kernel_name).dec()

    def _forget_ended(self, kernel_id: str, manager: ElasticKernelManager) -> None:
        if self._kernels.get(kernel_id) is manager:
            self._forget(kernel_id)


def _unknown(kernel_id: str) -> KernelError:
    return KernelError(404, "NoSuchKernel", f"There is no kernel {kernel_id} of yours here.")
