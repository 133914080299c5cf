"""Watching what the service does on the cluster, and waiting for it with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hub_service.kinds import (
    COMPONENT_GATEWAY,
    JUPYTER_KERNELS,
    LABEL_COMPONENT,
    LABEL_GATEWAY,
    LABEL_MANAGED_BY,
    MANAGER,
    PODS,
    Object,
    Resource,
    condition,
    controller_uid,
    name_of,
    uid_of,
)
from hub_service.kube import Cluster, Key, Reflector, key_of

DEADLINE = 60.0


def an_object(resource: Resource, name: str, spec: Object) -> Object:
    """To be created."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def says(kind: str, status: str, words: str = "") -> Callable[[Object | None], bool]:
    """Whether an object has that condition with that status and those words."""

    def look(item: Object | None) -> bool:
        entry = condition(item, kind) if item else None
        return bool(entry) and entry["status"] == status and words in entry["message"]

    return look


async def serving_pod(cluster: Cluster, namespace: str, gateway: str, name: str) -> None:
    """A pod of a gateway that is ready, though it is on no node."""
    labels = {
        LABEL_COMPONENT: COMPONENT_GATEWAY,
        LABEL_MANAGED_BY: MANAGER,
        LABEL_GATEWAY: gateway,
    }
    spec = {"schedulerName": "none", "containers": [{"name": "gateway", "image": "elastic/none"}]}
    pod = an_object(PODS, name, spec)
    pod["metadata"]["labels"] = labels
    await cluster.create(PODS, namespace, pod)
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await cluster.merge_patch(PODS, namespace, name, {"status": ready}, subresource="status")


async def until(holds: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Return once that holds: for what tells nobody when it changes."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def reflecting(
    cluster: Cluster, resource: Resource, namespace: str
) -> AsyncIterator[Reflector]:
    """A current copy of one kind in one namespace."""
    reflector = Reflector(cluster, resource, namespace)
    task = asyncio.create_task(reflector.run())
    try:
        await reflector.synced(DEADLINE)
        yield reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Observed:
    """Kernels and pods of a namespace by watch, independent of the service's own."""

    namespace: str
    kernels: Reflector
    pods: Reflector
    pods_seen: dict[str, str] = field(default_factory=dict)  # uid → name, gone ones included

    @classmethod
    @asynccontextmanager
    async def of(cls, cluster: Cluster, namespace: str) -> AsyncIterator[Observed]:
        """Watch until the block ends."""
        async with (
            reflecting(cluster, JUPYTER_KERNELS, namespace) as kernels,
            reflecting(cluster, PODS, namespace) as pods,
        ):
            observed = cls(namespace, kernels, pods)
            pods.subscribe(observed._note)
            for pod in pods.store:
                observed._note(key_of(pod), None, pod)
            yield observed

    def _note(self, key: Key, _old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.pods_seen[uid_of(new)] = key.name

    async def kernel(
        self, kernel: Object, holds: Callable[[Object], object], seconds: float = DEADLINE
    ) -> Object:
        """The kernel, once it is there and `holds` is true of its status."""
        found = await self._wait(
            self.kernels,
            name_of(kernel),
            lambda item: item is not None and bool(holds(item.get("status") or {})),
            seconds,
        )
        assert found is not None
        return found

    async def phase(self, kernel: Object, *phases: str, seconds: float = DEADLINE) -> Object:
        """The kernel, once it is in one of these phases."""
        return await self.kernel(kernel, lambda status: status.get("phase") in phases, seconds)

    async def gone(self, kernel: Object, seconds: float = DEADLINE) -> None:
        """Return once the kernel isn't there any more."""
        await self._wait(self.kernels, name_of(kernel), lambda item: item is None, seconds)

    async def pod(
        self, name: str, holds: Callable[[Object | None], object], seconds: float = DEADLINE
    ) -> Object | None:
        """The pod, once `holds` is true of it (None while there is none)."""
        return await self._wait(self.pods, name, lambda item: bool(holds(item)), seconds)

    def pods_made_for(self, kernel: Object) -> list[str]:
        """Names of all pods that there ever were with this kernel's name in theirs."""
        return sorted(n for n in self.pods_seen.values() if n.startswith(name_of(kernel)))

    def pods_of(self, kernel: Object) -> list[Object]:
        """Pods of the kernel that are there now."""
        return [
            pod
            for pod in self.pods.store
            if controller_uid(pod, JUPYTER_KERNELS.kind) == uid_of(kernel)
        ]

    async def _wait(
        self,
        reflector: Reflector,
        name: str,
        predicate: Callable[[Object | None], bool],
        seconds: float,
    ) -> Object | None:
        key = Key(self.namespace, name)
        try:
            return await reflector.wait_for(key, predicate, seconds)
        except TimeoutError:
            now = reflector.store.get(key)
            raise AssertionError(f"not within {seconds} s; {key} is {now}") from None
