"""Takes over kernels that another process of the gateway has started.

What there is to know of each is in its resource and its Secret (adoption.py). The Secret is asked
for, and again later where that can't be had now.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from functools import partial

from elastic_spawner.gateway import adoption
from elastic_spawner.gateway.adoption import Found
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.runtime import Runtime
from hub_service import kinds
from hub_service.kinds import Object
from hub_service.kube import ApiError, Key, key_of
from hub_service.names import kernel_name

log = logging.getLogger(__name__)

# Secrets that are read at once when a process of the gateway takes over; seconds after which it
# serves what it has, and seconds until one that could not be read is tried again.
_READS_AT_ONCE = 32
_ADOPT_WITHIN = 20.0
_READ_AGAIN = (0.2, 1.0, 5.0, 15.0)


class Adopter:
    """is_known: whether the kernel of that id is served here, or was given up here.

    serve: called with a kernel that is found, and the key that signs its messages.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        is_known: Callable[[str], bool],
        serve: Callable[[Found, Mapping[str, str]], None],
    ) -> None:
        self._runtime = runtime
        self._is_known = is_known
        self._serve = serve
        self._adoptions: dict[str, asyncio.Task[None]] = {}
        self._stopped = False
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    async def adopt_all(self) -> None:
        """Take over all there are; returns once that was tried with each."""
        for resource in self._runtime.kernels.store:
            self.look(resource)
        if self._adoptions:
            await asyncio.wait(self._adoptions.values(), timeout=_ADOPT_WITHIN)

    async def find(self, kernel_id: str, namespace: str) -> None:
        """Take over a kernel that may have been started a moment ago.

        KernelError 503 while the cluster can't say whether there is one.
        """
        if kernel_id not in self._adoptions:
            try:
                resource = await self._runtime.cluster.get(
                    kinds.JUPYTER_KERNELS, namespace, kernel_name(kernel_id)
                )
            except ApiError as error:
                if error.status == 404:
                    return
                raise KernelError(
                    503,
                    "NotLookedFor",
                    f"Whether there is such a kernel can't be told now: {error.message}",
                ) from error
            self._runtime.kernels.record(resource)
            self.look(resource)
        if task := self._adoptions.get(kernel_id):
            await asyncio.wait({task}, timeout=_ADOPT_WITHIN)

    def look(self, resource: Object) -> None:
        """Take the kernel over, if it is one that this process does not know of and ought to."""
        kernel_id = kinds.spec_of(resource).get("kernelID", "")
        if (
            not self._is_known(kernel_id)
            and kernel_id not in self._adoptions
            and not self._stopped
            and self._runtime.serves(resource)
        ):
            task = asyncio.create_task(self._adopt(key_of(resource)))
            self._adoptions[kernel_id] = task
            task.add_done_callback(partial(self._adopted, kernel_id))

    async def stop(self) -> None:
        """Take over no more kernels."""
        self._stopped = True
        tasks = list(self._adoptions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _adopted(self, kernel_id: str, task: asyncio.Task[None]) -> None:
        self._adoptions.pop(kernel_id, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("kernel %s can't be served", kernel_id, exc_info=error)

    async def _adopt(self, key: Key) -> None:
        for delay in itertools.chain(_READ_AGAIN, itertools.repeat(_READ_AGAIN[-1])):
            resource = self._runtime.kernels.store.get(key)
            if resource is None or not self._runtime.serves(resource):
                return
            try:
                async with self._reads:
                    keys = await self._keys(adoption.read(resource))
                # As it is now: it may have answered while its Secret was waited for.
                resource = self._runtime.kernels.store.get(key)
                if resource is None or not self._runtime.serves(resource):
                    return
                found = adoption.read(resource)
            except adoption.UnusableError as error:
                log.warning("kernel %s is deleted: %s", key, error)
                self._delete(key)
                return
            except ApiError as error:
                log.warning("kernel %s can't be served yet: %s", key, error)
                await asyncio.sleep(delay)
            else:
                self._serve(found, keys)
                return

    async def _keys(self, found: Found) -> dict[str, str]:
        try:
            secret = await self._runtime.cluster.get(kinds.SECRETS, found.namespace, found.secret)
        except ApiError as error:
            if error.status == 404:
                raise adoption.UnusableError("its Secret is gone") from error
            raise
        return adoption.keys_of(secret)

    def _delete(self, key: Key) -> None:
        self._runtime.insist(
            f"deletion of {key}",
            lambda: self._runtime.cluster.delete(kinds.JUPYTER_KERNELS, key.namespace, key.name),
        )
