"""The process proxy: a kernel as a JupyterKernel resource, and its pod as the process.

Enterprise Gateway starts kernels through such a proxy and asks it whether they live. Ours makes
Secret and JupyterKernel, waits on the watch for admission and the pod's address, and then for the
kernel's heartbeat. It never asks the API server how things are: `poll` answers from the watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from enterprise_gateway.services.processproxies.processproxy import (
    BaseProcessProxyABC,
    RemoteProcessProxy,
)

from elastic_spawner.gateway import environment, kernel_resource
from elastic_spawner.gateway.adoption import Found
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.kernel_resource import PORTS, Ending, KernelRequest, Observation
from elastic_spawner.gateway.probe import heartbeat
from elastic_spawner.gateway.runtime import Runtime
from hub_service import kinds, timestamps
from hub_service.kube import ApiError
from hub_service.names import kernel_name

# How a start that was refused or failed is answered; any other reason is a 500.
_STATUS_BY_REASON = {
    kinds.Reason.QUOTA_EXCEEDED: 403,
    **dict.fromkeys(
        (
            kinds.Reason.INVALID_SPEC,
            kinds.Reason.POD_REJECTED,
            kinds.Reason.NAMESPACE_QUOTA,
            kinds.Reason.LARGER_THAN_ANY_NODE,
            kinds.Reason.NO_MATCHING_NODE,
            kinds.Reason.REFERENCE_NOT_FOUND,
            kinds.Reason.INVALID_IMAGE_NAME,
            kinds.Reason.IMAGE_NOT_FOUND,
            kinds.Reason.BAD_COMMAND,
        ),
        422,
    ),
    **dict.fromkeys(
        (
            kinds.Reason.ADMISSION_TIMEOUT,
            kinds.Reason.SCHEDULING_TIMEOUT,
            kinds.Reason.IMAGE_TIMEOUT,
            kinds.Reason.CONTAINER_TIMEOUT,
        ),
        504,
    ),
    "KernelDeleted": 410,
}
# Seconds that the service may take over an interrupt; more than its own limits together.
_INTERRUPT_TIMEOUT = 12.0
_RESTART_TIMEOUT = 16.0


@dataclass(frozen=True)
class KernelStart:
    """What a start was asked for by its owner.

    environment: the client's variables that the spec declares.
    timeout: seconds that the kernel may take to answer once its container runs, and each restart
    in all.
    """

    owner: Identity
    spec_name: str
    environment: dict[str, str]
    timeout: float


class KernelProxy(RemoteProcessProxy):
    """One kernel's resource and address.

    incarnation: number of the pod that is or is to be the kernel; a new pod raises it.
    restart_id: of the last restart in the pod that is known of.
    """

    def __init__(self, kernel_manager: Any, proxy_config: dict[str, Any]) -> None:
        # Not RemoteProcessProxy's: it would open a port for launchers to call back on, and there
        # are no launchers. Being one of its kind keeps Enterprise Gateway from treating the
        # kernel as a local process.
        BaseProcessProxyABC.__init__(self, kernel_manager, proxy_config)
        kernel_manager.response_address = "unused"  # or a connection file is written here
        self.name = kernel_name(self.kernel_id)
        self.incarnation = 0
        self.restart_id: str | None = None
        self._runtime: Runtime = kernel_manager.runtime
        self._key = ""
        self._namespace = self._runtime.settings.namespace
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
        self._namespace = self._runtime.namespace_of_kernels(start.owner)
        self._key = secrets.token_hex(32)
        async with self._deleted_on_failure():
            await self._create(await self._request(start))
            await self._connect(start.timeout)
        return self

    def adopt(self, found: Found, key: str) -> None:
        """Take over a kernel that another process of the gateway has started."""
        self._namespace, self._key = found.namespace, key
        self.incarnation = found.incarnation
        seen = kernel_resource.restart_of(self.resource())
        if "delivered" in seen:  # or it goes on, and is to be followed
            self.restart_id = seen["id"]

    def connect_to(self, ip: str) -> None:
        """Point the manager to the kernel at that address, which has answered before."""
        self.ip = ip
        self.kernel_manager.point_to(kernel_resource.connection_info(ip, self._key))

    async def follow(self, incarnation: int, timeout: float) -> None:
        """Wait until the pod of that number answers, which another process has asked for.

        Raises KernelError; the kernel is deleted then, unless somebody else has reached it.
        """
        self.incarnation = incarnation
        try:
            await self._connect(timeout)
        except KernelError:
            activity = kinds.status_of(self.resource() or {}).get("activity") or {}
            if activity.get("executionState") not in (kinds.IDLE, kinds.BUSY):
                self.delete_in_background()
            raise

    async def replace_pod(self, timeout: float) -> None:
        """Ask for a new pod in place of the present one, and wait until it answers.

        Raises KernelError; the kernel is deleted then: a pod that came late would hold its GPU
        for nobody.
        """
        async with self._deleted_on_failure():
            self.incarnation += 1
            body = {"spec": {"incarnation": self.incarnation}}
            await self._call(
                self._runtime.cluster.merge_patch(
                    kinds.JUPYTER_KERNELS, self._namespace, self.name, body
                )
            )
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
        if not kernel_resource.restarts_in_place(self.resource()):
            return "The kernel's container can't be restarted."
        try:
            restart_id = await self._ask("restart", graceSeconds=grace)
            return await self.restarted(restart_id, timeout)
        except KernelError as error:
            return error.message

    async def restarted(self, restart_id: str, timeout: float) -> str | None:
        """Wait for a restart in the pod that has begun; as `restart_in_place`."""
        self.restart_id = restart_id
        try:
            outcome = await self._outcome("restart", restart_id, _RESTART_TIMEOUT)
            self.restart_id = outcome["id"]
            if not outcome["delivered"]:
                return str(outcome.get("message"))
            await self._connect(timeout)
        except KernelError as error:
            return error.message
        return None

    def unseen_restart(self) -> str | None:
        """The id of a restart in the pod that somebody else has begun."""
        restart_id = kernel_resource.restart_of(self.resource()).get("id")
        return None if restart_id in (None, self.restart_id) else str(restart_id)

    async def interrupt(self) -> None:
        """Have SIGINT sent to the kernel's processes; returns once it was.

        One at a time: a second request would take the place of the first in the resource.
        Raises KernelError with the service's sentence where the signal was not sent.
        """
        async with self._interrupting:
            interrupt_id = await self._ask("interrupt")
            outcome = await self._outcome("interrupt", interrupt_id, _INTERRUPT_TIMEOUT)
        if not outcome["delivered"]:
            raise KernelError(409, "NotInterrupted", str(outcome.get("message")))

    async def delete(self) -> None:
        """Delete the kernel's resource for its user; what belongs to it goes with it.

        Gone already is fine. It says so first that it was the user, to other processes of the
        gateway: the kernel is nothing that they have to account for.
        """
        with contextlib.suppress(KernelError):
            await self.annotate(kinds.ANNOTATION_SHUT_DOWN, timestamps.seconds(datetime.now(UTC)))
        try:
            await self._runtime.cluster.delete(kinds.JUPYTER_KERNELS, self._namespace, self.name)
        except ApiError as error:
            if error.status != 404:
                self.delete_in_background()
                raise KernelError(
                    500,
                    "ClusterRefused",
                    f"The cluster did not delete the kernel yet: {error.message}",
                ) from error

    def delete_in_background(self) -> None:
        """Delete the kernel's resource without anybody waiting for it, trying more than once."""
        self._runtime.insist(
            f"deletion of {self.name}",
            lambda: self._runtime.cluster.delete(kinds.JUPYTER_KERNELS, self._namespace, self.name),
        )

    async def annotate(self, name: str, text: str) -> None:
        """Set an annotation of the kernel's resource. KernelError."""
        body = {"metadata": {"annotations": {name: text}}}
        cluster = self._runtime.cluster
        await self._call(
            cluster.merge_patch(kinds.JUPYTER_KERNELS, self._namespace, self.name, body)
        )

    def resource(self) -> kinds.Object | None:
        """The kernel's resource as the watch has it; None once it is gone."""
        return self._runtime.kernels.store.get((self._namespace, self.name))

    def observe(self) -> Observation:
        """What the resource says of the kernel's pod: as the watch has it."""
        return kernel_resource.observe(self.resource(), self.incarnation)

    def ending(self) -> Ending | None:
        """Why the kernel can't go on, None while it can: as the watch has it."""
        return self.observe().ending

    def progress(self) -> str:
        """What a kernel that doesn't answer yet waits for, in a sentence."""
        seen = self.observe()
        if seen.runs:
            return "The kernel's container runs; the kernel has not answered yet."
        return seen.waiting_for or "The kernel is being admitted."

    def exists(self) -> bool:
        """Whether the kernel's resource is there and stays."""
        kernel = self.resource()
        return kernel is not None and not kinds.is_deleting(kernel)

    def poll(self) -> bool | None:
        """None while the kernel lives, as subprocess.Popen.poll; False once it has ended."""
        return None if self.ending() is None else False

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
        """Nothing: a kernel is ended by deleting its resource (`delete`)."""

    terminate = kill

    def cleanup(self) -> None:
        """Nothing: there are no tunnels and no local files."""

    def confirm_remote_startup(self) -> None:
        """Nothing: `launch_process` returns once the kernel has answered."""

    def shutdown_listener(self) -> None:
        """Nothing: there is no launcher that listens."""

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
            namespace=self._namespace,
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
            template_reference=catalog.template_of(start.spec_name),
            cull_idle_timeout=catalog.cull_idle_timeout(start.spec_name),
        )

    async def _create(self, request: KernelRequest) -> None:
        cluster, namespace = self._runtime.cluster, self._namespace
        # In the pod the kernel listens on all of its addresses.
        content = kernel_resource.connection_info("0.0.0.0", self._key)  # noqa: S104
        secret = kernel_resource.connection_secret(request, json.dumps(content))
        await self._call(cluster.create(kinds.SECRETS, namespace, secret))
        try:
            kernel = await self._call(
                cluster.create(
                    kinds.JUPYTER_KERNELS, namespace, kernel_resource.jupyter_kernel(request)
                )
            )
        except BaseException:
            # Where this process ends, the kernel may have been made, and another goes on with it.
            if not self._runtime.is_stopping:
                self._runtime.insist(
                    f"deletion of Secret {self.name}",
                    lambda: cluster.delete(kinds.SECRETS, namespace, self.name),
                )
            raise
        self._runtime.kernels.record(kernel)
        ownership = kernel_resource.secret_ownership(kernel)
        self._runtime.insist(
            f"owner of Secret {self.name}",
            lambda: cluster.merge_patch(kinds.SECRETS, namespace, self.name, ownership),
        )

    async def _connect(self, timeout: float) -> None:
        """Wait for the pod's address and the heartbeat, then point the manager there.

        timeout: seconds from the container's start to the heartbeat.
        """
        ip = await self._address()
        await self._first_heartbeat(ip, timeout)
        self.connect_to(ip)

    async def _address(self) -> str:
        observation = None

        def decided(kernel: kinds.Object | None) -> bool:
            nonlocal observation
            observation = kernel_resource.observe(kernel, self.incarnation)
            return bool(observation.pod_ip or observation.ending)

        await self._runtime.kernels.wait_for((self._namespace, self.name), decided)
        assert observation is not None  # noqa: S101 - set by `decided`
        if observation.ending:
            raise _refusal(observation.ending)
        return str(observation.pod_ip)

    async def _ask(self, field: str, **details: object) -> str:
        """Ask the service for something in the resource's spec; the request's id. KernelError."""
        request_id = uuid4().hex
        if field == "restart":
            self.restart_id = request_id  # or the watch would tell of it as somebody else's
        body = kernel_resource.request(field, request_id, datetime.now(UTC), **details)
        cluster = self._runtime.cluster
        kernel = await self._call(
            cluster.merge_patch(kinds.JUPYTER_KERNELS, self._namespace, self.name, body)
        )
        self._runtime.kernels.record(kernel)
        return request_id

    async def _outcome(self, field: str, request_id: str, timeout: float) -> kinds.Object:
        """Wait for what came of a request. Raises KernelError."""
        try:
            kernel = await self._runtime.kernels.wait_for(
                (self._namespace, self.name),
                lambda item: (
                    item is None or kernel_resource.outcome(item, field, request_id) is not None
                ),
                timeout,
            )
        except TimeoutError:
            raise KernelError(
                504,
                f"{field.capitalize()}Timeout",
                f"The hub's service has not seen to the {field} within {timeout:.0f} seconds. "
                "Try again, or start a new kernel.",
            ) from None
        outcome = kernel_resource.outcome(kernel, field, request_id)
        if outcome is None:
            raise KernelError(410, "KernelDeleted", "The kernel's resource is gone.")
        return outcome

    async def _first_heartbeat(self, ip: str, timeout: float) -> None:
        """Wait for the echo, or for the end of a pod that dies before it. KernelError."""
        echo = asyncio.ensure_future(heartbeat(self.kernel_manager.context, ip, PORTS["hb_port"]))
        end = asyncio.ensure_future(self._until(lambda seen: seen.ending is not None))
        late = asyncio.ensure_future(self._overdue(timeout))
        try:
            await asyncio.wait({echo, end, late}, return_when=asyncio.FIRST_COMPLETED)
            if not echo.done() and (ending := self.ending()):
                raise _refusal(ending)
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
        await self._until(lambda seen: seen.runs)
        await asyncio.sleep(timeout)

    async def _until(self, predicate: Callable[[Observation], bool]) -> None:
        await self._runtime.kernels.wait_for(
            (self._namespace, self.name),
            lambda kernel: predicate(kernel_resource.observe(kernel, self.incarnation)),
        )

    def _too_late(self, timeout: float) -> KernelError:
        waiting_for = self.observe().waiting_for
        because = f" It was waiting: {waiting_for}" if waiting_for else ""
        return KernelError(
            504, "StartTimeout", f"The kernel did not answer within {timeout:.0f} seconds.{because}"
        )

    async def _call(self, call: Coroutine[Any, Any, kinds.Object]) -> kinds.Object:
        try:
            return await call
        except ApiError as error:
            self.log.warning("kernel %s: %s", self.kernel_id, error)
            if error.status in (404, 410):
                raise KernelError(410, "KernelDeleted", "The kernel's resource is gone.") from error
            raise KernelError(
                502 if error.status == 0 else 500,
                "ClusterRefused",
                f"The cluster did not take the kernel: {error.message}",
            ) from error

    @asynccontextmanager
    async def _deleted_on_failure(self) -> AsyncIterator[None]:
        try:
            yield
        except Exception:
            self.delete_in_background()
            raise


def _refusal(ending: Ending) -> KernelError:
    return KernelError(_STATUS_BY_REASON.get(ending.reason, 500), ending.reason, ending.message)
