"""What happened to kernels, in the API server's own order, and how many counted at each moment.

All objects have their versions from one counter (etcd's revision), so that events of pods and of
JupyterKernels can be put into one order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from hub_service.kernels.kernel import is_admitted, is_finished
from hub_service.kinds import (
    JUPYTER_KERNELS,
    PODS,
    Object,
    Resource,
    controller_uid,
    is_deleting,
    spec_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster


class Event(NamedTuple):
    """A version, the kind of object, what happened (ADDED, MODIFIED, DELETED), and the object."""

    version: int
    kind: str
    type: str
    item: Object


class Peak(NamedTuple):
    """The most kernels that an owner had at a time, and the version at which that came about."""

    count: int
    version: int


def peaks(events: Iterable[Event]) -> dict[str, Peak]:
    """By owner. A kernel counts from its pod or its admission on, whichever comes first, until it
    is over, or its deletion is asked for.
    """
    owners: dict[str, str] = {}
    began: set[str] = set()
    over: set[str] = set()
    held: dict[str, set[str]] = {}
    result: dict[str, Peak] = {}
    for event in sorted(events, key=lambda event: event.version):
        if event.kind == PODS.kind:
            uid = controller_uid(event.item, JUPYTER_KERNELS.kind) or ""
            began.add(uid)
        else:
            uid = uid_of(event.item)
            owners[uid] = str(spec_of(event.item).get("owner"))
            if is_admitted(event.item):
                began.add(uid)
            if event.type == "DELETED" or is_deleting(event.item) or is_finished(event.item):
                over.add(uid)
        if uid not in owners:
            continue  # of before the watch began
        mine = held.setdefault(owners[uid], set())
        (mine.add if uid in began - over else mine.discard)(uid)
        if len(mine) > result.get(owners[uid], Peak(0, 0)).count:
            result[owners[uid]] = Peak(len(mine), event.version)
    return result


class History:
    """Events of a namespace's kernels and pods since it began to watch.

    kernels: the JupyterKernels that are there, by uid, as the events leave them. seen: the ids of
    all that ever came.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seen: set[str] = set()
        self.kernels: dict[str, Object] = {}
        self._heard = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def of(cls, cluster: Cluster, namespace: str) -> AsyncIterator[History]:
        """Watch until the block ends. A watch that breaks goes on where it was, or fails."""
        history = cls()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for resource in (JUPYTER_KERNELS, PODS):
                listed = await cluster.list(resource, namespace)
                version = listed["metadata"]["resourceVersion"]
                tasks.append(
                    group.create_task(history._follow(cluster, resource, namespace, version))
                )
            yield history
            for task in tasks:
                task.cancel()

    async def changed(self, seconds: float) -> None:
        """Return at the next event, or after so many seconds."""
        self._heard.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()

    async def _follow(
        self, cluster: Cluster, resource: Resource, namespace: str, version: str
    ) -> None:
        while True:
            try:
                async for kind, item in cluster.watch(resource, namespace, version):
                    version = item["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        self._note(Event(int(version), resource.kind, kind, item))
            except ApiError as error:
                if error.status == 410:
                    raise  # events are missing: nothing could be said

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if event.kind == JUPYTER_KERNELS.kind:
            self.seen.add(str(spec_of(event.item).get("kernelID")))
            if event.type == "DELETED":
                self.kernels.pop(uid_of(event.item), None)
            else:
                self.kernels[uid_of(event.item)] = event.item
        self._heard.set()
