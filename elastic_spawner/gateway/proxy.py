"""The process proxy: a kernel as a JupyterKernel resource, and its pod as the process.

Enterprise Gateway starts kernels through such a proxy and asks it whether they live. Ours has
Secret and JupyterKernel made (kernel_api.py), waits for admission and the pod's address, and then
for the kernel's heartbeat. `poll` answers from the watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from enterprise_gateway.services.processproxies.processproxy import (
    BaseProcessProxyABC,
    RemoteProcessProxy,
)

from elastic_spawner.gateway import environment, kernel_resource, keys
from elastic_spawner.gateway.adoption import Found
from elastic_spawner.gateway.errors import KernelError, refusal
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.kernel_api import KernelResource
from elastic_spawner.gateway.kernel_resource import PORTS, KernelRequest
from elastic_spawner.gateway.probe import heartbeat
from elastic_spawner.gateway.runtime import Runtime
from hub_service import kinds
from hub_service.kernelspecs.kernelspec import CURVE

# Seconds that the service may take over an interrupt; more than its own limits together.
_INTERRUPT_TIMEOUT = 12.0
_RESTART_TIMEOUT = 16.0


@dataclass(frozen=True)
class KernelStart:
    """What a start was asked for by its owner.

    environment: the client's variables that the spec declares; dropped: names of others.
    timeout: seconds that the kernel may take to answer once its container runs, and each restart
    in all.
    working_directory: the notebook's folder, where the client names one.
    """

    owner: Identity
    spec_name: str
    environment: dict[str, str]
    timeout: float
    dropped: tuple[str, ...] = ()
    working_directory: str | None = None


class KernelProxy(RemoteProcessProxy):
    """One kernel's resource and address."""

    def __init__(self, kernel_manager: Any, proxy_config: dict[str, Any]) -> None:
        # Not RemoteProcessProxy's: it would open a port for launchers to call back on, and there
        # are no launchers. Being one of its kind keeps Enterprise Gateway from treating the
        # kernel as a local process.
        BaseProcessProxyABC.__init__(self, kernel_manager, proxy_config)
        kernel_manager.response_address = "unused"  # or a connection file is written here
        self._runtime: Runtime = kernel_manager.runtime
        self.resource = KernelResource(self._runtime, self.kernel_id)
        self._keys: Mapping[str, str] = {}
        self._interrupting = asyncio.Lock()

    async def launch_process(self, _: list[str], **kwargs: Any) -> KernelProxy:
        """Create the kernel and wait until it answers; on failure nothing of it is left.

        A kernel that waits in line waits for as long as the service lets it. Cancelled, this leaves
        behind what there is by then.

        The command in the first argument is not used: jupyter_client puts its own interpreter into
        it. The kernel's is in the pod template.
        Raises KernelError with a sentence for the user.
        """
        start: KernelStart = kwargs["start"]
        encryption = self._runtime.catalog.encryption(start.spec_name)
        self._take(keys.new(encrypted=encryption == CURVE))
        async with self._deleted_on_failure():
            await self.resource.create(await self._request(start), self._keys)
            await self._connect(start.timeout)
        return self

    def adopt(self, found: Found, own_keys: Mapping[str, str]) -> None:
        """Take over a kernel that another process of the gateway has started."""
        self._take(own_keys)
        self.resource.adopt(found)

    def connect_to(self, ip: str) -> None:
        """Point the manager to the kernel at that address, which has answered before."""
        self.ip = ip
        self.kernel_manager.point_to(kernel_resource.connection_info(ip, self._keys))

    async def follow(self, incarnation: int, timeout: float) -> None:
        """Wait until the pod of that number answers, which another process has asked for.

        Raises KernelError; the kernel is deleted then, unless somebody else has reached it.
        """
        self.resource.incarnation = incarnation
        try:
            await self._connect(timeout)
        except KernelError:
            activity = kinds.status_of(self.resource.current() or {}).get("activity") or {}
            if activity.get("executionState") not in (kinds.IDLE, kinds.BUSY):
                self.resource.delete_in_background()
            raise

    async def replace_pod(self, timeout: float) -> None:
        """Ask for a new pod in place of the present one, and wait until it answers.

        Raises KernelError; the kernel is deleted then: a pod that came late would hold its GPU
        for nobody.
        """
        async with self._deleted_on_failure():
            await self.resource.next_pod()
            try:
                async with asyncio.timeout(timeout):
                    await self._connect(timeout)
            except TimeoutError:
                raise self._too_late(timeout) from None

    async def restart_in_place(self, grace: int, timeout: float) -> str | None:
        """Have the kernel's process started again in its pod, and wait until it answers.

        grace: seconds that it has to end by itself, having been asked to. Returns a sentence where
        that came to nothing: the kernel may have ended then.
        """
        if not kernel_resource.restarts_in_place(self.resource.current()):
            return "The kernel's container can't be restarted."
        try:
            restart_id = await self.resource.ask("restart", graceSeconds=grace)
            return await self.restarted(restart_id, timeout)
        except KernelError as error:
            return error.message

    async def restarted(self, restart_id: str, timeout: float) -> str | None:
        """Wait for a restart in the pod that has begun; as `restart_in_place`."""
        if problem := await self.delivered(restart_id):
            return problem
        return await self.answered(timeout)

    async def delivered(self, restart_id: str) -> str | None:
        """Wait until another process runs in the pod; a sentence where that came to nothing."""
        self.resource.restart_id = restart_id
        try:
            outcome = await self.resource.outcome("restart", restart_id, _RESTART_TIMEOUT)
        except KernelError as error:
            return error.message
        self.resource.restart_id = outcome["id"]
        return None if outcome["delivered"] else str(outcome.get("message"))

    async def answered(self, timeout: float) -> str | None:
        """Wait until the process in the pod answers; a sentence where it does not."""
        try:
            await self._connect(timeout)
        except KernelError as error:
            return error.message
        return None

    async def interrupt(self) -> None:
        """Have SIGINT sent to the kernel's processes; returns once it was.

        One at a time: a second request would take the place of the first in the resource.
        Raises KernelError with the service's sentence where the signal was not sent.
        """
        async with self._interrupting:
            interrupt_id = await self.resource.ask("interrupt")
            outcome = await self.resource.outcome("interrupt", interrupt_id, _INTERRUPT_TIMEOUT)
        if not outcome["delivered"]:
            raise KernelError(409, "NotInterrupted", str(outcome.get("message")))

    def poll(self) -> bool | None:
        """None while the kernel lives, as subprocess.Popen.poll; False once it has ended."""
        return None if self.resource.ending() is None else False

    def wait(self) -> None:
        """Nothing: waiting would block the loop; the watch tells of the end."""

    def send_signal(self, signum: int) -> bool | None:
        """Signal 0 asks whether the kernel lives; others don't reach a pod."""
        if signum == 0:
            return self.poll()
        raise KernelError(
            501, "NoSignals", f"Signal {signum} can't be sent to a kernel that has its own pod."
        )

    def kill(self) -> None:
        """Nothing: a kernel is ended by deleting its resource."""

    terminate = kill

    def cleanup(self) -> None:
        """Nothing: there are no tunnels and no local files."""

    def confirm_remote_startup(self) -> None:
        """Nothing: `launch_process` returns once the kernel has answered."""

    def shutdown_listener(self) -> None:
        """Nothing: there is no launcher that listens."""

    def _take(self, found: Mapping[str, str]) -> None:
        self._keys = found
        keys.use(self.kernel_manager.context, found)

    async def _request(self, start: KernelStart) -> KernelRequest:
        catalog = self._runtime.catalog
        variables = start.environment | environment.own_environment(
            user=start.owner.name,
            kernel_id=self.kernel_id,
            language=catalog.model(start.spec_name)["spec"]["language"],
        )
        made = await catalog.pod_template(start.spec_name, variables)
        return KernelRequest(
            kernel_id=self.kernel_id,
            namespace=self._runtime.namespace_of_kernels(start.owner),
            gateway=self._runtime.settings.name,
            gateway_namespace=self._runtime.settings.namespace,
            owner=start.owner.name,
            server=start.owner.server,
            notebook=start.owner.notebook,
            spec_name=kinds.name_of(catalog.get(start.spec_name)),
            kernel_name=start.spec_name,
            interrupt_mode=self.kernel_manager.kernel_spec.interrupt_mode,
            template=made.template,
            parameters=made.values,
            dropped=environment.dropped_annotation(start.dropped),
            template_reference=catalog.template_of(start.spec_name),
            cull_idle_timeout=catalog.cull_idle_timeout(start.spec_name),
            before_cull=catalog.before_cull(start.spec_name),
            working_directory=start.working_directory,
        )

    async def _connect(self, timeout: float) -> None:
        """Wait for the pod's address and the heartbeat, then point the manager there.

        timeout: seconds from the container's start to the heartbeat.
        """
        ip = await self.resource.address()
        await self._first_heartbeat(ip, timeout)
        self.connect_to(ip)

    async def _first_heartbeat(self, ip: str, timeout: float) -> None:
        """Wait for the echo, or for the end of a pod that dies before it. KernelError."""
        echo = asyncio.ensure_future(heartbeat(self.kernel_manager.context, ip, PORTS["hb_port"]))
        end = asyncio.ensure_future(self.resource.until(lambda seen: seen.ending is not None))
        late = asyncio.ensure_future(self._overdue(timeout))
        try:
            await asyncio.wait({echo, end, late}, return_when=asyncio.FIRST_COMPLETED)
            if not echo.done() and (ending := self.resource.ending()):
                raise refusal(ending)
            if not echo.done():
                raise KernelError(
                    504,
                    "StartTimeout",
                    "The kernel's container runs, but the kernel in it did not answer within "
                    f"{timeout:.0f} seconds. Its command may be no Jupyter kernel's; its log says "
                    "more.",
                )
            await echo
        finally:
            for task in (echo, end, late):
                task.cancel()
            await asyncio.gather(echo, end, late, return_exceptions=True)

    async def _overdue(self, timeout: float) -> None:
        """Return once the kernel's container has run for so long."""
        await self.resource.until(lambda seen: seen.runs)
        await asyncio.sleep(timeout)

    def _too_late(self, timeout: float) -> KernelError:
        waiting_for = self.resource.observe().waiting_for
        because = f" It was waiting: {waiting_for}" if waiting_for else ""
        return KernelError(
            504, "StartTimeout", f"The kernel did not answer within {timeout:.0f} seconds.{because}"
        )

    @asynccontextmanager
    async def _deleted_on_failure(self) -> AsyncIterator[None]:
        try:
            yield
        except Exception:
            self.resource.delete_in_background()
            raise
