"""The manager of one kernel: its start, interrupts, end, and what is said of it.

Enterprise Gateway and jupyter_client ask one object for all of it. What it has done is in other
files: clients.py, introductions.py, monitor.py, proxy.py, restarts.py, sealing.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from enterprise_gateway.services.kernels.remotemanager import RemoteKernelManager
from jupyter_client.kernelspec import KernelSpec
from traitlets import default, observe

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway import endings, kernel_resource, warnings
from elastic_spawner.gateway.adoption import Found
from elastic_spawner.gateway.clients import Clients
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.introductions import Introductions
from elastic_spawner.gateway.kernel_resource import PORTS, Ending
from elastic_spawner.gateway.keys import context_of_kernel
from elastic_spawner.gateway.monitor import KernelMonitor
from elastic_spawner.gateway.proxy import KernelProxy, KernelStart
from elastic_spawner.gateway.restarter import ReportingRestarter
from elastic_spawner.gateway.restarts import Restarts
from elastic_spawner.gateway.runtime import Runtime
from elastic_spawner.gateway.sealing import Sealing
from elastic_spawner.gateway.sessions import sessions_of
from hub_service import kinds, timestamps
from hub_service.kinds import ANNOTATION_SESSIONS

# Settings of the app that Enterprise Gateway's manager expects on itself.
_INHERITED = (
    "authorized_users",
    "unauthorized_users",
    "port_range",
    "impersonation_enabled",
    "max_kernels_per_user",
    "client_envs",
    "inherited_envs",
)
_DEAD = "dead"
# Seconds in which an idle kernel that was taken over has answered, and its clients are back.
_REPORT_AFTER = 2.0


class ElasticKernelManager(RemoteKernelManager):
    """One kernel of one owner.

    announced: whether a start's client has been told of the kernel: from then on it is listed, and
    a failure is told where it is used.
    ended: why the kernel doesn't run (any more); None while it does. A kernel that died can be
    restarted by its user; one that was sealed, or whose resource is gone, can't.
    reachable: whether there is a pod to connect to.
    """

    process_proxy: KernelProxy | None
    kernel: Any  # the process proxy once it runs: what jupyter_client looks at

    @default("restarter_class")
    def _restarter_class_default(self) -> type[ReportingRestarter]:
        return ReportingRestarter

    @observe("kernel_name")
    def _kernel_name_changed(self, _: object) -> None:
        # jupyter_client takes `python` for another name of its own `python3`; here it is a spec's.
        self._kernel_spec = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start: KernelStart | None = None
        self.ended: Ending | None = None
        self.reachable = False
        self.announced = False
        # While it starts: since when no client is connected, on the loop's clock.
        self.alone_since: float | None = None
        self._notice_given = False
        self.clients = Clients()
        self.sealing = Sealing(self)
        self._warnings = warnings.Display()
        self._restarts = Restarts(self)
        self._starting: asyncio.Task[None] | None = None
        self.context = context_of_kernel(self.context)  # type: ignore[has-type]
        self.monitor = KernelMonitor(self.context, self.session, self.report)

    def _link_dependent_props(self) -> None:
        # Enterprise Gateway links these to the app for as long as the app lives, which keeps
        # every kernel manager there ever was in memory. They don't change: copies will do.
        for name in _INHERITED:
            setattr(self, name, getattr(self.parent.parent, name))

    @property
    def runtime(self) -> Runtime:
        """What the gateway's parts share."""
        runtime: Runtime = self.parent.runtime
        return runtime

    @property
    def owner(self) -> Identity:
        """Who started the kernel."""
        return self.started_as.owner

    @property
    def starting(self) -> bool:
        """Whether the kernel's start goes on."""
        return self._starting is not None and not self._starting.done() and self.ended is None

    @property
    def progress(self) -> str:
        """What the kernel's start waits for, in a sentence; empty when it is over."""
        if not self.starting or self.reachable:
            return ""
        return (
            self.process_proxy.resource.progress()
            if self.process_proxy
            else "The kernel is starting."
        )

    @property
    def has_notice(self) -> bool:
        """Whether something may have to be said below the first cell."""
        return not self._notice_given

    def take_notice(self) -> str | None:
        """What that is, once."""
        self._notice_given = True
        return kernel_resource.notice(self.resource)

    @property
    def connections_elsewhere(self) -> int:
        """Websockets to the kernel that other processes of the gateway have."""
        return kernel_resource.connections_elsewhere(self.resource, self.runtime.settings.process)

    @property
    def execution_state(self) -> str:
        """starting, idle, busy or dead."""
        return _DEAD if self.ended else self.monitor.activity.execution_state

    @property
    def last_activity(self) -> datetime:
        """When something last happened."""
        return self.monitor.activity.last_activity

    @property
    def reason(self) -> str:
        """Why the kernel is dead, or what its start waits for; else empty."""
        return self.ended.message if self.ended else self.progress

    @property
    def _kernel_info_future(self) -> Future[dict[str, Any]]:
        # jupyter_server's websockets look here before they ask the kernel themselves.
        return self.monitor.kernel_info

    @property
    def ports(self) -> list[Any]:
        """Ports and address: jupyter_server compares them to know if channels must be rebuilt."""
        return [*super().ports, self.ip]

    @property
    def started_as(self) -> KernelStart:
        """What the start was asked for."""
        assert self.start is not None  # noqa: S101 - set before anything else is asked
        return self.start

    def begin(self, start: KernelStart, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` bring the kernel up, beside whatever else goes on.

        It calls `start_kernel`, or what else ends with `serve`, and raises KernelError.
        """
        self.start = start
        # Here already for clients that come before the kernel answers: it tells them of its end.
        self._restarter = self.restarter_class(
            kernel_manager=self, loop=self.loop, parent=self, log=self.log
        )
        self._starting = asyncio.create_task(work)
        self._starting.add_done_callback(_seen)

    async def started(self, within: float) -> None:
        """Wait for the start's end, for so many seconds. Raises what it failed with."""
        assert self._starting is not None  # noqa: S101 - set by begin
        done, _ = await asyncio.wait([self._starting], timeout=within)
        for start in done:
            start.result()

    async def start_kernel(self, **kwargs: Any) -> None:
        """Start the kernel that `begin` was told of. Raises KernelError."""
        self.kernel_launch_timeout = self.started_as.timeout
        await super().start_kernel(**kwargs, start=self.started_as)
        self.serve()

    def introduction(self) -> dict[str, Any]:
        """What the kernel will say of itself, as far as that is known before it answers."""
        introductions: Introductions = self.parent.introductions
        return introductions.of(self.kernel_name, self.resource, self._language)

    def serve(self) -> None:
        """The kernel answers: listen to it, and let those in who wait for it."""
        self.reachable = True
        self.monitor.start(self.ip, dict(PORTS))
        self.monitor.kernel_info.add_done_callback(self._introduced)
        self.clients.let_in()

    async def serve_again(self) -> None:
        """Another process of the kernel answers: listen to it, and have the clients do so."""
        self.ended = None
        self.reachable = True
        self._connect_control_socket()
        self.monitor.start(self.ip, dict(PORTS))
        await self.clients.reconnect()

    def adopt(self, found: Found, keys: Mapping[str, str]) -> None:
        """Serve a kernel that another process of the gateway has started.

        One that has ended is so for its clients; one that is on its way is waited for.
        """
        # Not by its name: the spec may have been changed, or be gone.
        self._kernel_spec = KernelSpec(
            display_name=found.kernel_name, interrupt_mode=found.interrupt_mode
        )
        # Websockets take it over when they open, which may be before there is a pod.
        self.session.key = keys["key"].encode()
        self.announced = True
        self.process_proxy = self.kernel = KernelProxy(self, {})
        self.process_proxy.adopt(found, keys)
        start = KernelStart(found.owner, found.kernel_name, {}, self.runtime.start_timeout)
        seen = self.process_proxy.resource.observe()
        answered = found.activity.get("executionState") in (kinds.IDLE, kinds.BUSY)
        self._notice_given = answered
        if not seen.ending and not (seen.pod_ip and answered):
            self.begin(start, self._wait_for_first_answer())
            return
        self.start = start
        self.start_restarter()
        if seen.ending:
            self.ended = seen.ending
            self.monitor.give_up()
            return
        self.process_proxy.connect_to(seen.pod_ip or "")
        self._connect_control_socket()
        self.reachable = True
        # A container's successor has its name.
        process = self.runtime.settings.process
        if reported := activities.reported_by(found.activity, process):
            self.runtime.reporter.knows(self.process_proxy.resource.name, reported)
        self.monitor.adopt(self.ip, dict(PORTS), found.activity, process)
        # One that works in silence says nothing by itself of what has changed.
        asyncio.get_running_loop().call_later(_REPORT_AFTER, self.report)

    async def _wait_for_first_answer(self) -> None:
        """A start that another process of the gateway has begun. KernelError."""
        proxy = self._proxy
        try:
            await proxy.follow(proxy.resource.incarnation, self.started_as.timeout)
        except KernelError as error:
            self.end(Ending(error.reason, error.message))
            raise
        self.start_restarter()
        self._connect_control_socket()
        activity = kinds.status_of(self.resource or {}).get("activity") or {}
        if activity.get("executionState") in (kinds.IDLE, kinds.BUSY):
            # The other process has let clients in, and what they have run was not heard here.
            self.monitor.executed = True
        self.serve()
        self.look()

    def point_to(self, connection: dict[str, Any]) -> None:
        """Take over a connection; existing control connections are closed."""
        self._close_control_socket()
        for name in PORTS:
            setattr(self, name, 0)  # load_connection_info keeps what is set
        self.load_connection_info(connection)

    async def interrupt_kernel(self) -> None:
        """Interrupt the running cell: by a message on the control channel, or else by a signal."""
        if self.ended:
            raise KernelError(409, self.ended.reason, self.ended.message)
        if self.progress:
            raise KernelError(
                409,
                "KernelStarting",
                f"The kernel has not started yet, so nothing runs in it. {self.progress} "
                "Shut it down to give the start up.",
            )
        if self.kernel_spec.interrupt_mode != "message":
            await self._proxy.interrupt()
            return
        self._connect_control_socket()
        self.session.send(self._control_socket, self.session.msg("interrupt_request", content={}))

    async def restart_kernel(self, *_: Any, **__: Any) -> None:
        """Start the kernel's process again; requests that come meanwhile wait for the same one.

        In its pod where that can be done, which keeps its GPU; else in a new one. Raises
        KernelError; the kernel can't be restarted again then.
        """
        if self.starting:
            # Nothing is there to throw away but the cells that wait; its place in line stays.
            self.clients.drop()
            return
        proxy = self.process_proxy
        over = self.sealing.sealed or proxy is None or not proxy.resource.exists()
        if proxy is None or (over and not self._restarts.going_on):
            message = self.reason or "The kernel's resource is gone. Start a new kernel."
            raise KernelError(409, "KernelGone", message)
        await self._restarts.restart(proxy)

    async def shutdown_kernel(self, *_: Any, **__: Any) -> None:
        """End the kernel: ask it, then delete its resource, and with it the pod."""
        self.shutting_down = True
        await self.give_up_start()
        if self.ended is None and self.process_proxy and self.process_proxy.ip:
            # PID 1 of a container ignores SIGTERM: asking is what makes it end at once.
            self.request_shutdown()
        self.disconnect()
        self.monitor.give_up()
        self.ended = self.ended or Ending("KernelShutDown", "This kernel was shut down.")
        self.clients.resume()
        self.kernel = None
        if self.process_proxy:
            self.runtime.reporter.forget(self.process_proxy.resource.name)
            await self.process_proxy.resource.delete()

    def abandon(self, ending: Ending) -> None:
        """Give up a start that nobody waits for; its resource is deleted."""
        self.end(ending)
        if self._starting is not None:
            self._starting.cancel()
        if self.process_proxy:
            self.process_proxy.resource.delete_in_background()

    async def give_up_start(self) -> None:
        """End a start that goes on; what it made stays."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])

    def cleanup_resources(self, restart: bool = False) -> None:
        """Nothing: restart and shutdown do what there is to do, and know which of them it is."""

    def end(self, ending: Ending) -> None:
        """The kernel has ended: tell its clients, once."""
        if self.ended:
            return
        self.ended = ending
        self.log.info("kernel %s ended: %s: %s", self.kernel_id, ending.reason, ending.message)
        if self.process_proxy:
            self.runtime.reporter.forget(self.process_proxy.resource.name)
        self.clients.tell_ended(ending.message, self.monitor.activity.cell)
        self.disconnect()
        self.monitor.give_up()
        self.clients.resume()  # what they sent is answered first: nobody listens to the dead
        if self._restarter:
            self._restarter.report_death()

    def tell_restarted(self, message: str) -> None:
        """The kernel's process was started again without anybody here having asked for it."""
        self.clients.tell_ended(message, self.monitor.activity.cell)
        if self._restarter:
            self._restarter.report_restart()

    def disconnect(self) -> None:
        """Let nothing stay connected to the pod's address: it may be another kernel's soon."""
        self.reachable = False
        self._close_control_socket()
        self.parent.stop_buffering(self.kernel_id)
        self.clients.disconnect()

    def look(self) -> None:
        """The watch has news of the kernel's resource."""
        proxy = self.process_proxy
        if self.shutting_down or self._restarts.going_on or proxy is None:
            return
        incarnation = kernel_resource.incarnation(proxy.resource.current())
        if (
            incarnation > proxy.resource.incarnation
            and not self.sealing.sealed
            and not self.starting
        ):
            # Somebody has restarted it by another process.
            self._restarts.follow_pod(proxy, incarnation)
            return
        if progress := self.progress:
            self.clients.show_progress(progress)
        if self.kernel is None:
            return
        if ending := proxy.resource.ending():
            if ending.reason == kinds.Reason.COMPLETED and self.sealing.held:
                self.sealing.end_as_culled()  # the end is seen before the word that asked for it
                return
            told = endings.of_kernel(
                ending, self.monitor.activity, restartable=proxy.resource.exists()
            )
            self.end(told)
        elif not self.starting and (restart_id := proxy.resource.unseen_restart()):
            self._restarts.follow_restart(proxy, restart_id)
        else:
            self._warn()

    def _warn(self) -> None:
        """Tell clients of a cull that is near, and that it is put off."""
        page = self.runtime.settings.page
        said = self._warnings.look(self.resource, self.monitor.activity, timestamps.now(), page)
        if said is not None:
            self.clients.show(*said)

    def report(self) -> None:
        """Have status.activity say what is known now."""
        if self.process_proxy and self.ended is None and not self.shutting_down:
            connections = self.parent.connections(self.kernel_id)
            status = activities.status(
                self.monitor.activity,
                connections,
                self.monitor.heart.lost_since,
                elsewhere=self.connections_elsewhere,
                left_elsewhere=kernel_resource.last_connected(self.resource),
                process=self.runtime.settings.process,
            )
            self.runtime.reporter.report(self.process_proxy.resource.name, status)

    def model(self) -> dict[str, Any]:
        """The kernel as Jupyter's REST API has it."""
        model: dict[str, Any] = {
            "id": self.kernel_id,
            "name": self.kernel_name,
            "last_activity": timestamps.microseconds(self.last_activity),
            "execution_state": self.execution_state,
            "connections": self.parent.connections(self.kernel_id),
        }
        # Ours: why it is dead, or what its start waits for; and for a notebook server that looks
        # for the kernels of an earlier one, which hub server started it, and for which notebooks.
        if self.reason:
            model["reason"] = self.reason
        if self.owner.server is not None:
            model["server"] = self.owner.server
        if kept := sessions_of(self.resource):
            model["sessions"] = kept
        return model

    async def keep_sessions(self, text: str) -> None:
        """Keep with the kernel's resource which notebooks it runs for. KernelError."""
        if self.process_proxy is None:
            return
        await self.process_proxy.resource.annotate(ANNOTATION_SESSIONS, text)

    @property
    def _proxy(self) -> KernelProxy:
        assert self.process_proxy is not None  # noqa: S101 - set by start_kernel and adopt
        return self.process_proxy

    @property
    def resource(self) -> kinds.Object | None:
        """The JupyterKernel as the watch has it; None while there is none."""
        return self.process_proxy.resource.current() if self.process_proxy else None

    def _language(self) -> str:
        try:
            return str(self.runtime.catalog.model(self.kernel_name)["spec"]["language"])
        except KernelError:
            return "unknown"  # the spec has been deleted since

    def _introduced(self, reply: Future[dict[str, Any]]) -> None:
        self.parent.introductions.learn(self.kernel_name, self.resource, reply.result())


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # told to whoever asked for the start, or in the kernel's own state
