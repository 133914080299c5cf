"""What has lost its owner → deleted after a grace: kernels, pods, Secrets; pods on dead nodes.

The copies of the cluster only say where to look. Before anything is deleted, the API server is
asked whether the owner is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta

from hub_service import orphans, timestamps
from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    JUPYTER_KERNELS,
    NODES,
    PODS,
    SECRETS,
    Object,
    is_deleting,
    name_of,
    namespace_of,
    spec_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.orphans import Go
from hub_service.reconcile.calls import delete, find
from hub_service.reconcile.indexes import BY_GATEWAY, gateway_of

log = logging.getLogger(__name__)


def gateway_of_new_kernel(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """The gateway that a kernel that came names."""
    text = gateway_of(new) if new is not None and old is None else None
    return (Key(*text.split("/", 1)),) if text else ()


def gateways_that_came_or_went(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A gateway itself, where it was not there or is no more."""
    return (key,) if (old is None) != (new is None) else ()


def pods_without_kernel(key: Key, _old: Object | None, new: Object | None) -> Iterable[Key]:
    """A pod that references no JupyterKernel."""
    return (key,) if new is not None and orphans.is_without_kernel(new) else ()


def pods_being_deleted(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A pod whose deletion was asked for; and once more when it is gone."""
    return (key,) if any(pod is not None and is_deleting(pod) for pod in (old, new)) else ()


class GatewayKernels:
    """`reconcile`, by gateway, for a Controller that follows kernels and gateways.

    Kernels of a gateway that is gone end: nobody reaches them. One that is made again within
    `grace` finds them. `kernels` needs the index BY_GATEWAY; `covers` tells whether the service
    looks after a namespace.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        gateways: Reflector,
        grace: timedelta,
        covers: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._gateways = gateways
        self._grace = grace
        self._covers = covers
        self._missing: dict[Key, datetime | None] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look after the kernels of one gateway; seconds until the next look."""
        if self._gateways.store.get(key) is not None:
            self._missing.pop(key, None)
            return None
        kernels = [
            item
            for item in self._kernels.store.by_index(BY_GATEWAY, str(key))
            if self._covers(namespace_of(item)) and not is_deleting(item)
        ]
        if not kernels:
            self._missing.pop(key, None)
            return None
        now = timestamps.now()
        there = await self._is_there(key)
        decision = orphans.decide(there, self._missing.get(key), now, grace=self._grace)
        if not isinstance(decision, Go):
            if decision.missing_since and not self._missing.get(key):
                log.warning(
                    "gateway %s is gone: its %d kernels end in %d s unless it is made again",
                    key, len(kernels), self._grace.total_seconds(),
                )  # fmt: skip
            self._missing[key] = decision.missing_since
            return (decision.until - now).total_seconds() if decision.until else None
        for item in kernels:
            log.info("kernel %s: deleted: its gateway %s is gone", key_of(item), key)
            await delete(self._cluster, JUPYTER_KERNELS, item)
        return None

    async def _is_there(self, key: Key) -> bool | None:
        if not self._covers(key.namespace):
            return None  # one may not even look there
        return await find(self._cluster, JUPYTER_GATEWAYS, key) is not None


class LostPods:
    """`reconcile`, by pod, for a Controller that follows pods by `pods_being_deleted`.

    A pod on a node that is gone stays in the API until somebody deletes it by force.
    """

    def __init__(self, cluster: Cluster, *, pods: Reflector) -> None:
        self._cluster = cluster
        self._pods = pods
        self._deleting_since: dict[Key, tuple[str, datetime]] = {}  # with the uid it was seen of
        self._may_see_nodes = True

    async def reconcile(self, key: Key) -> float | None:
        """Delete one pod for good if its node is certainly dead; seconds until the next look."""
        pod = self._pods.store.get(key)
        if pod is None or not is_deleting(pod):
            self._deleting_since.pop(key, None)
            return None
        now = timestamps.now()
        uid, since = self._deleting_since.get(key, ("", now))
        if uid != uid_of(pod):
            since = now
            self._deleting_since[key] = (uid_of(pod), since)
        wait = (orphans.overdue_at(pod, since) - now).total_seconds()
        node = spec_of(pod).get("nodeName")
        if wait > 0 or not node:
            return max(wait, 1.0) if node else None
        if await self._is_dead(node):
            log.warning("pod %s: deleted by force: its node %s is gone", key, node)
            try:
                await self._cluster.delete(
                    PODS, key.namespace, key.name, uid=uid_of(pod), grace_period=0
                )
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
        return orphans.LATE.total_seconds()

    async def _is_dead(self, node: str) -> bool:
        if not self._may_see_nodes:
            return False
        try:
            return orphans.is_certainly_dead(await find(self._cluster, NODES, Key("", node)))
        except ApiError as error:
            if error.status != 403:
                raise
            self._may_see_nodes = False
            log.warning("%s. Pods on dead nodes stay; see helm-values/rbac.yaml.", error.message)
            return False


class PodsWithoutKernel:
    """`reconcile`, by pod, for a Controller that follows pods by `pods_without_kernel`.

    Pods whose JupyterKernel has gone are deleted at once, elsewhere; these name none.
    """

    def __init__(self, cluster: Cluster, *, pods: Reflector, grace: timedelta) -> None:
        self._cluster = cluster
        self._pods = pods
        self._grace = grace
        self._missing: dict[str, datetime | None] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look after one pod; seconds until the next look."""
        pod = self._pods.store.get(key)
        if pod is None or not orphans.is_without_kernel(pod):
            return None
        now, uid = timestamps.now(), uid_of(pod)
        name = orphans.kernel_of_labels(pod)
        kernel = (
            await find(self._cluster, JUPYTER_KERNELS, Key(key.namespace, name)) if name else None
        )
        decision = orphans.decide(
            kernel is not None, self._missing.get(uid), now, grace=self._grace
        )
        if isinstance(decision, Go):
            self._missing.pop(uid, None)
            log.info("pod %s: deleted: it has the labels of a kernel, and there is none", key)
            await delete(self._cluster, PODS, pod)
            return None
        self._missing[uid] = decision.missing_since
        return self._grace.total_seconds()


class SecretSweep:
    """Looks through the kernels' Secrets now and then: nothing watches them.

    Only names and labels are asked for. A Secret of a kernel that is there goes with it; one is
    left where a gateway was killed between making it and making the kernel.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        namespaces: Callable[[], Collection[str]],
        grace: timedelta,
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._namespaces = namespaces
        self._grace = grace
        self._missing: dict[str, datetime | None] = {}
        self._forbidden: set[str] = set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        await self._kernels.synced()
        while True:
            await self.sweep()
            await asyncio.sleep(max(self._grace.total_seconds() / 2, 1.0))

    async def sweep(self) -> None:
        """Look through all namespaces once."""
        left: set[str] = set()
        for namespace in self._namespaces():
            try:
                left |= await self._sweep(namespace)
            except ApiError as error:
                self._say(namespace, error)
        self._missing = {uid: at for uid, at in self._missing.items() if uid in left}

    async def _sweep(self, namespace: str) -> set[str]:
        """Sweep one namespace; the uids of Secrets whose kernel is missing."""
        found = await self._cluster.list(
            SECRETS, namespace, label_selector=orphans.SECRETS_SELECTOR, only_metadata=True
        )
        left = set()
        for secret in found["items"] or []:
            known = self._kernels.store.get((namespace, name_of(secret))) is not None
            if known or is_deleting(secret) or not orphans.is_kernels_secret(secret):
                continue
            uid = uid_of(secret)
            kernel = await find(self._cluster, JUPYTER_KERNELS, key_of(secret))
            decision = orphans.decide(
                kernel is not None, self._missing.get(uid), timestamps.now(), grace=self._grace
            )
            if isinstance(decision, Go):
                log.info("Secret %s: deleted: its kernel is gone", key_of(secret))
                await delete(self._cluster, SECRETS, secret)
            else:
                left.add(uid)
                self._missing[uid] = decision.missing_since
        return left

    def _say(self, namespace: str, error: ApiError) -> None:
        if error.status != 403:
            log.warning("Secrets in %s could not be looked through: %s", namespace, error)
        elif namespace not in self._forbidden:
            self._forbidden.add(namespace)
            log.info("Secrets in %s are not looked through: %s", namespace, error.message)
