"""All kernels of this gateway: starting, finding, ending them; to each caller only their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from enterprise_gateway.services.kernels.remotemanager import RemoteMappingKernelManager
from jupyter_server.prometheus.metrics import KERNEL_CURRENTLY_RUNNING_TOTAL
from traitlets import default
from zmq import MAX_SOCKETS

from elastic_spawner.gateway.adopter import Adopter
from elastic_spawner.gateway.adoption import Found
from elastic_spawner.gateway.buffering import Buffer
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.introductions import Introductions
from elastic_spawner.gateway.kernel_resource import Ending
from elastic_spawner.gateway.kernelmanager import ElasticKernelManager
from elastic_spawner.gateway.proxy import KernelStart
from elastic_spawner.gateway.runtime import Runtime
from hub_service import kinds
from hub_service.kinds import Object
from hub_service.kube import Key
from hub_service.names import kernel_name

# A kernel that ended for good stays listed as dead this long, so that its notebook can say why.
_REMEMBER_ENDED = 3600.0
# Seconds for websockets' clients to take note when they are sent away.
_CLOSE_WITHIN = 1.0
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
        self.introductions = Introductions()
        self._given_up: set[str] = set()
        self._asked: set[asyncio.Task[Any]] = set()
        self._adopter = Adopter(
            self.runtime,
            is_known=lambda kernel_id: kernel_id in self._kernels or kernel_id in self._given_up,
            serve=self._serve_found,
        )

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

    async def start_owned(self, start: KernelStart, hold: float) -> ElasticKernelManager:
        """Begin a kernel's start for its owner; its manager once it answers or `hold` s later.

        A start that fails before that raises its KernelError, and the kernel is forgotten; one that
        goes on may fail later, and the kernel is dead then. Cancelled, it gives the start up.
        """
        if task := asyncio.current_task():
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
        manager: ElasticKernelManager
        manager, _, kernel_id = self.pre_start_kernel(start.spec_name, {})
        self.register(kernel_id, manager)
        manager.begin(start, self._bring_up(manager))
        try:
            await manager.started(hold)
        except Exception:
            # Its resource may be there for a moment yet, and is nobody's then.
            self._given_up.add(kernel_id)
            self._forget(kernel_id, manager)
            raise
        except asyncio.CancelledError:
            if kernel_id in self._kernels:
                await self.shutdown_kernel(kernel_id)
            raise
        manager.announced = True
        self._expect_client(manager)
        return manager

    def register(self, kernel_id: str, manager: ElasticKernelManager) -> None:
        """Know a kernel from now on."""
        manager.kernel_id = kernel_id
        self._kernels[kernel_id] = manager
        self._kernel_connections[kernel_id] = 0
        self._kernel_ports[kernel_id] = manager.ports
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=manager.kernel_name).inc()

    async def _bring_up(self, manager: ElasticKernelManager) -> None:
        """The work of a start. KernelError."""
        kernel_id, owner = manager.kernel_id, manager.owner.name
        try:
            await manager.start_kernel(env={"KERNEL_USERNAME": owner})
        except Exception as error:
            if manager.announced:
                manager.end(_ending(error))
                self._forget_later(kernel_id, manager)
            raise
        self._kernel_ports[kernel_id] = manager.ports
        self.log.info("kernel %s of %s started", kernel_id, owner)
        manager.look()  # it may have ended between its first answer and now

    async def starts_answered(self, timeout: float) -> None:
        """Wait until those who have asked for a start are told what came of it so far."""
        if self._asked:
            await asyncio.wait(self._asked, timeout=timeout)

    async def adopt_all(self) -> int:
        """Take over what other processes of this gateway have started; how many there are now.

        Returns once that was tried with each; what can't be read now is tried again later.
        """
        await self._adopter.adopt_all()
        return len(self._kernels)

    async def find(self, kernel_id: str, caller: Identity) -> None:
        """See to it that a kernel which another process has just started is known here.

        KernelError 503 while the cluster can't say.
        """
        if kernel_id not in self._kernels and not caller.is_service:
            await self._adopter.find(kernel_id, self.runtime.namespace_of_kernels(caller))

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
            if not caller.is_service and manager.announced and manager.owner.name == caller.name
        ]

    async def restart_owned(self, manager: ElasticKernelManager) -> None:
        """Restart a kernel with a new pod. KernelError."""
        await manager.restart_kernel()
        self._kernel_ports[manager.kernel_id] = manager.ports

    async def shutdown_kernel(self, kernel_id: str, *_: Any, **__: Any) -> None:
        """End a kernel and forget it."""
        manager: ElasticKernelManager = self._kernels[kernel_id]
        self._given_up.add(kernel_id)
        self._forget(kernel_id, manager)
        await manager.shutdown_kernel()

    async def shutdown_all(self, *_: Any, **__: Any) -> None:
        """Nothing: kernels go on without this process."""

    async def stop_adopting(self) -> None:
        """Take over no more kernels."""
        await self._adopter.stop()

    def clients(self) -> list[Any]:
        """All open websockets."""
        return [client for manager in self._kernels.values() for client in manager.clients]

    async def send_clients_away(self) -> None:
        """Close all websockets; their clients connect to another process of the gateway."""
        closed = [client.close() for client in self.clients()]
        if closed:
            await asyncio.wait(closed, timeout=_CLOSE_WITHIN)

    def any(self, kernel_id: str) -> ElasticKernelManager:
        """A kernel, whoever's it is; KernelError 404."""
        manager: ElasticKernelManager | None = self._kernels.get(kernel_id)
        if manager is None:
            raise _unknown(kernel_id)
        return manager

    def on_kernel_change(self, _: Key, old: Object | None, new: Object | None) -> None:
        """The watch has news: listener of the cache of JupyterKernels."""
        resource = new or old
        if resource is None:
            return
        kernel_id = kinds.spec_of(resource).get("kernelID", "")
        manager: ElasticKernelManager | None = self._kernels.get(kernel_id)
        if new is None:
            self._given_up.discard(kernel_id)
        if manager is None:
            self._adopter.look(resource)
            return
        if kernel_name(kernel_id) != kinds.name_of(resource):
            return
        if new is None and kinds.ANNOTATION_SHUT_DOWN in kinds.annotations_of(resource):
            self._forget(kernel_id, manager)  # by its user, who asked another process for it
            manager.end(Ending("KernelShutDown", "This kernel was shut down."))
            return
        manager.look()
        if new is None and manager.ended:
            self._forget_later(kernel_id, manager)

    def connections(self, kernel_id: str) -> int:
        """Websockets that are connected to a kernel."""
        return int(self._kernel_connections.get(kernel_id, 0))

    def notify_connect(self, kernel_id: str) -> None:
        """A websocket has connected."""
        super().notify_connect(kernel_id)
        self._kernels[kernel_id].alone_since = None
        self._kernels[kernel_id].report()

    def notify_disconnect(self, kernel_id: str) -> None:
        """A websocket has gone."""
        super().notify_disconnect(kernel_id)
        if not self.connections(kernel_id):
            self._kernels[kernel_id].monitor.left()
        self._kernels[kernel_id].report()
        self._expect_client(self._kernels[kernel_id])

    def start_buffering(self, kernel_id: str, session_key: str, channels: dict[str, Any]) -> None:
        """Keep what the kernel says for a client that has left, while there is one to listen to."""
        manager = self._kernels[kernel_id]
        if not manager.reachable:
            return
        super().start_buffering(kernel_id, session_key, channels)
        buffer = Buffer(manager.session, self._kernel_buffers[kernel_id]["buffer"])

        def take(channel: str, frames: list[bytes]) -> None:
            if not buffer.take(channel, frames):
                self.log.warning("kernel %s: no more is kept for its client", kernel_id)
                self.stop_buffering(kernel_id)

        for channel, stream in channels.items():
            stream.on_recv(partial(take, channel))

    def stop_buffering(self, kernel_id: str) -> None:
        """Drop what was kept, and the connections that it came by."""
        if kernel_id in self._kernels:
            super().stop_buffering(kernel_id)

    def _serve_found(self, found: Found, keys: Mapping[str, str]) -> None:
        file = f"{self.connection_dir}/{kernel_name(found.kernel_id)}.json"  # never written
        manager: ElasticKernelManager = self.kernel_manager_factory(
            connection_file=file,
            parent=self,
            log=self.log,
            kernel_name=found.kernel_name,
            kernel_spec_manager=self.kernel_spec_manager,
        )
        self.register(found.kernel_id, manager)
        manager.adopt(found, keys)
        self._kernel_ports[found.kernel_id] = manager.ports
        self._expect_client(manager)
        manager.look()
        state = manager.reason or manager.execution_state
        self.log.info("kernel %s of %s found: %s", found.kernel_id, found.owner.name, state)

    def _expect_client(self, manager: ElasticKernelManager) -> None:
        """End a start that no client is connected to for the grace.

        Also if the kernel runs by then: whoever asked for it may never have learnt its id. Nothing
        was run in it, so nothing is lost.
        """
        if not manager.starting or self.connections(manager.kernel_id):
            return
        grace = self.runtime.start_grace
        loop = asyncio.get_running_loop()
        since = manager.alone_since = loop.time()

        def look() -> None:
            if manager.ended or manager.alone_since != since:
                return
            if not manager.starting and (manager.monitor.executed or manager.connections_elsewhere):
                return
            if manager.connections_elsewhere:
                loop.call_later(grace, look)
                return
            manager.abandon(
                Ending(
                    "StartAbandoned",
                    "This kernel's start was given up: for "
                    f"{grace:.0f} seconds no notebook was connected to it. Start a new one.",
                )
            )
            self._forget_later(manager.kernel_id, manager)

        loop.call_later(grace, look)

    def _forget(self, kernel_id: str, manager: ElasticKernelManager) -> None:
        if self._kernels.get(kernel_id) is not manager:
            return
        self.stop_buffering(kernel_id)
        del self._kernels[kernel_id]
        self._kernel_connections.pop(kernel_id, None)
        self._kernel_ports.pop(kernel_id, None)
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=manager.kernel_name).dec()

    def _forget_later(self, kernel_id: str, manager: ElasticKernelManager) -> None:
        """Keep a kernel that ended listed for a while."""
        loop = asyncio.get_running_loop()
        loop.call_later(_REMEMBER_ENDED, self._forget, kernel_id, manager)


def _ending(error: Exception) -> Ending:
    if isinstance(error, KernelError):
        return Ending(error.reason, error.message)
    return Ending("StartFailed", "The gateway failed at this start; its log says why.")


def _unknown(kernel_id: str) -> KernelError:
    return KernelError(404, "NoSuchKernel", f"There is no kernel {kernel_id} of yours here.")
