"""A warm pod for a kernel, in place of one that would be made: claimed, and told whose it is.

First the pod becomes the kernel's, in one write that fails if anybody else was faster. Then the
process in it is sent what it needs. Only when that has been done does the pod say that it is this
kernel: one that a service claimed which was stopped then is somebody's leftover, and is deleted.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterator

from hub_service import timestamps
from hub_service.kinds import (
    CONNECTION_KEY,
    PODS,
    SECRETS,
    Object,
    namespace_of,
    spec_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.pods import podtemplate
from hub_service.reconcile.calls import delete
from hub_service.reconcile.starts import UNSCHEDULED
from hub_service.warm import pods as warm

log = logging.getLogger(__name__)

BY_POOL = "pool"
# A claim is to be faster than a new pod.
_TELL_TIMEOUT = 5.0


class WarmClaims:
    """`pods` needs the indexes BY_POOL and UNSCHEDULED."""

    def __init__(self, cluster: Cluster, pods: Reflector) -> None:
        self._cluster = cluster
        self._pods = pods
        self._being_claimed: set[str] = set()
        self._may_claim = True

    async def claim(self, item: Object, wanted: Object) -> Object | None:
        """A warm pod that is this kernel now; None: one has to be made."""
        for pod in self._candidates(item, wanted):
            self._being_claimed.add(uid_of(pod))
            try:
                claimed = await self._claim(pod, item, wanted)
            except ApiError as error:
                if error.status == 403:
                    self._may_claim = False
                log.warning(
                    "kernel %s: the warm pod %s is not used: %s", key_of(item), key_of(pod), error
                )
                return None
            finally:
                self._being_claimed.discard(uid_of(pod))
            if claimed is not None:
                return claimed
        return None

    def _candidates(self, item: Object, wanted: Object) -> Iterator[Object]:
        spec, namespace = spec_of(item), namespace_of(item)
        name = spec.get("kernelSpecName")
        if not (self._may_claim and name and spec.get("connectionSecret")):
            return
        waiting = self._pods.store.by_index(BY_POOL, str(Key(namespace, name)))
        if not waiting or self._would_go_first(wanted):
            return
        found = warm.candidates(waiting, wanted)
        if not found:
            log.info("kernel %s: no warm pod is ready that is like its own", key_of(item))
        for pod in found:
            if uid_of(pod) not in self._being_claimed:
                yield pod

    def _would_go_first(self, wanted: Object) -> bool:
        """Whether the kernel would have a GPU before others that wait for one."""
        if not podtemplate.gpus(wanted):
            return False
        return any(map(podtemplate.gpus, self._pods.store.by_index(UNSCHEDULED, "")))

    async def _claim(self, pod: Object, item: Object, wanted: Object) -> Object | None:
        """None where the pod is somebody else's by now. ApiError too where it can't be told.

        Where one can't be, the others hardly could: they are left as they are.
        """
        connection = await self._connection_file(item)
        if connection is None:
            return None
        try:
            claimed = await self._patch(pod, warm.claim(pod, wanted, timestamps.now()))
        except ApiError as error:
            if error.status in (404, 409):
                return None
            raise
        try:
            await self._tell(claimed, warm.delivery(wanted, connection))
            told = await self._patch(claimed, warm.delivered(item))
        except ApiError:
            await delete(self._cluster, PODS, claimed)
            raise
        log.info("kernel %s: has the warm pod %s", key_of(item), key_of(pod))
        return told

    async def _connection_file(self, item: Object) -> str | None:
        """The kernel's, from its Secret; None where there is none yet, or no such thing in it."""
        name = str(spec_of(item)["connectionSecret"])
        try:
            secret = await self._cluster.get(SECRETS, namespace_of(item), name)
            return base64.b64decode(secret["data"][CONNECTION_KEY], validate=True).decode()
        except ApiError as error:
            if error.status != 404:
                raise
        except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
            pass  # the kernel's own pod will say what is wrong
        return None

    async def _tell(self, pod: Object, line: bytes) -> None:
        container = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]["name"]
        namespace, name = key_of(pod)
        done = await self._cluster.execute(
            namespace, name, container, warm.DELIVER, timeout=_TELL_TIMEOUT, stdin=line
        )
        if done.exit_code:
            raise ApiError(500, "NotTold", done.output.strip() or f"exit code {done.exit_code}")

    async def _patch(self, pod: Object, patch: Object) -> Object:
        namespace, name = key_of(pod)
        written = await self._cluster.merge_patch(PODS, namespace, name, patch)
        self._pods.record(written)
        return written
