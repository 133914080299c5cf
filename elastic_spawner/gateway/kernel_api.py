"""A kernel's JupyterKernel and Secret on the cluster: made, asked for things, and deleted.

How the kernel is comes from the watch: the API server is written to, and never asked.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import uuid4

from elastic_spawner.gateway import kernel_resource
from elastic_spawner.gateway.adoption import Found
from elastic_spawner.gateway.errors import KernelError, refusal
from elastic_spawner.gateway.kernel_resource import Ending, KernelRequest, Observation
from elastic_spawner.gateway.runtime import Runtime
from hub_service import kinds, timestamps
from hub_service.kube import ApiError
from hub_service.names import kernel_name

log = logging.getLogger(__name__)


class KernelResource:
    """One kernel's.

    incarnation: number of the pod that is or is to be the kernel; a new pod raises it.
    restart_id: of the last restart in the pod that is known of.
    """

    def __init__(self, runtime: Runtime, kernel_id: str) -> None:
        self.name = kernel_name(kernel_id)
        self.namespace = runtime.settings.namespace
        self.incarnation = 0
        self.restart_id: str | None = None
        self._runtime = runtime

    def adopt(self, found: Found) -> None:
        """Go on with what another process of the gateway has made."""
        self.namespace, self.incarnation = found.namespace, found.incarnation
        seen = kernel_resource.restart_of(self.current())
        if "delivered" in seen:  # or it goes on, and is to be followed
            self.restart_id = seen["id"]

    async def create(self, request: KernelRequest, keys: Mapping[str, str]) -> None:
        """Make both; keys: of the kernel, see keys.py. KernelError."""
        self.namespace = request.namespace
        cluster = self._runtime.cluster
        # In the pod the kernel listens on all of its addresses.
        content = kernel_resource.connection_info("0.0.0.0", keys)  # noqa: S104
        secret = kernel_resource.connection_secret(request, json.dumps(content))
        await self._call(cluster.create(kinds.SECRETS, self.namespace, secret))
        try:
            kernel = await self._call(
                cluster.create(
                    kinds.JUPYTER_KERNELS, self.namespace, kernel_resource.jupyter_kernel(request)
                )
            )
        except BaseException:
            # Where this process ends, the kernel may have been made, and another goes on with it.
            if not self._runtime.is_stopping:
                self._runtime.insist(
                    f"deletion of Secret {self.name}",
                    lambda: cluster.delete(kinds.SECRETS, self.namespace, self.name),
                )
            raise
        self._runtime.kernels.record(kernel)
        ownership = kernel_resource.secret_ownership(kernel)
        self._runtime.insist(
            f"owner of Secret {self.name}",
            lambda: cluster.merge_patch(kinds.SECRETS, self.namespace, self.name, ownership),
        )

    def current(self) -> kinds.Object | None:
        """The JupyterKernel as the watch has it; None once it is gone."""
        return self._runtime.kernels.store.get((self.namespace, self.name))

    def exists(self) -> bool:
        """Whether it is there and stays."""
        kernel = self.current()
        return kernel is not None and not kinds.is_deleting(kernel)

    def observe(self) -> Observation:
        """What it says of the kernel's pod."""
        return kernel_resource.observe(self.current(), self.incarnation)

    def ending(self) -> Ending | None:
        """Why the kernel can't go on, None while it can."""
        return self.observe().ending

    def progress(self) -> str:
        """What a kernel that doesn't answer yet waits for, in a sentence."""
        seen = self.observe()
        if seen.runs:
            return "The kernel's container runs; the kernel has not answered yet."
        return seen.waiting_for or "The kernel is being admitted."

    def unseen_restart(self) -> str | None:
        """The id of a restart in the pod that somebody else has begun."""
        restart_id = kernel_resource.restart_of(self.current()).get("id")
        return None if restart_id in (None, self.restart_id) else str(restart_id)

    async def until(self, predicate: Callable[[Observation], bool]) -> Observation:
        """Wait until what it says of the kernel's pod is such."""
        observation = Observation()

        def is_such(kernel: kinds.Object | None) -> bool:
            nonlocal observation
            observation = kernel_resource.observe(kernel, self.incarnation)
            return predicate(observation)

        await self._runtime.kernels.wait_for((self.namespace, self.name), is_such)
        return observation

    async def address(self) -> str:
        """Wait for the pod's address. Raises KernelError where the kernel ends before."""
        seen = await self.until(lambda seen: bool(seen.pod_ip or seen.ending))
        if seen.ending:
            raise refusal(seen.ending)
        return str(seen.pod_ip)

    async def next_pod(self) -> None:
        """Ask for a new pod in place of the present one. KernelError."""
        self.incarnation += 1
        await self._patch({"spec": {"incarnation": self.incarnation}})

    async def annotate(self, name: str, text: str) -> None:
        """Set an annotation. KernelError."""
        await self._patch({"metadata": {"annotations": {name: text}}})

    async def ask(self, field: str, **details: object) -> str:
        """Ask the service for an `interrupt` or a `restart`; the request's id. KernelError."""
        request_id = uuid4().hex
        if field == "restart":
            self.restart_id = request_id  # or the watch would tell of it as somebody else's
        body = kernel_resource.request(field, request_id, timestamps.now(), **details)
        self._runtime.kernels.record(await self._patch(body))
        return request_id

    async def outcome(self, field: str, request_id: str, timeout: float) -> kinds.Object:
        """Wait for what came of a request. Raises KernelError."""
        try:
            kernel = await self._runtime.kernels.wait_for(
                (self.namespace, self.name),
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

    async def delete(self) -> None:
        """Delete the kernel for its user; what belongs to it goes with it. KernelError.

        Gone already is fine. It says so first that it was the user, to other processes of the
        gateway: the kernel is nothing that they have to account for.
        """
        with contextlib.suppress(KernelError):
            await self.annotate(kinds.ANNOTATION_SHUT_DOWN, timestamps.seconds(timestamps.now()))
        try:
            await self._runtime.cluster.delete(kinds.JUPYTER_KERNELS, self.namespace, self.name)
        except ApiError as error:
            if error.status != 404:
                self.delete_in_background()
                raise KernelError(
                    500,
                    "ClusterRefused",
                    f"The cluster did not delete the kernel yet: {error.message}",
                ) from error

    def delete_in_background(self) -> None:
        """Delete the kernel without anybody waiting for it, trying more than once."""
        self._runtime.insist(
            f"deletion of {self.name}",
            lambda: self._runtime.cluster.delete(kinds.JUPYTER_KERNELS, self.namespace, self.name),
        )

    async def _patch(self, body: kinds.Object) -> kinds.Object:
        cluster = self._runtime.cluster
        return await self._call(
            cluster.merge_patch(kinds.JUPYTER_KERNELS, self.namespace, self.name, body)
        )

    async def _call(self, call: Coroutine[Any, Any, kinds.Object]) -> kinds.Object:
        try:
            return await call
        except ApiError as error:
            log.warning("%s: %s", self.name, error)
            if error.status in (404, 410):
                raise KernelError(410, "KernelDeleted", "The kernel's resource is gone.") from error
            raise KernelError(
                502 if error.status == 0 else 500,
                "ClusterRefused",
                f"The cluster did not take the kernel: {error.message}",
            ) from error
