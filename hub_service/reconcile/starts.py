"""What the judgement of a start needs from the cluster: the pod's Events, nodes, the line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from hub_service.kinds import (
    JUPYTER_KERNELS,
    NODES,
    Object,
    Phase,
    controller,
    namespace_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector
from hub_service.sharing import kueue
from hub_service.sharing.pods import gates, held_by_owner
from hub_service.starts import judge, line, room
from hub_service.starts.judge import Times, Verdict

log = logging.getLogger(__name__)

BY_POD = "pod"
UNSCHEDULED = "unscheduled"
WITH_GPUS = "gpus"

# How old, in seconds, what is known of nodes and of the line may be.
_NODES_AGE = 30.0
_NODES_REFUSED_AGE = 600.0
_LINE_AGE = 1.0


class Starts:
    """Judges starts. `pods` needs the indexes UNSCHEDULED and WITH_GPUS, `events` and Kueue's
    `workloads`, where it is in use, BY_POD.

    Without the right to list nodes, what is larger than any of them waits like everything else.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        pods: Reflector,
        events: Reflector,
        times: Times,
        workloads: Reflector | None = None,
    ) -> None:
        self.times = times
        self._cluster = cluster
        self._pods = pods
        self._events = events
        self._workloads = workloads
        self._nodes: Sequence[room.Node] = ()
        self._nodes_until = 0.0
        self._asking = asyncio.Lock()
        self._line = line.Line()
        self._line_until = 0.0

    def kernel_of_event(self, _key: Key, _old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which kernel an Event concerns: its pod's, while that starts."""
        about: Object = (new or {}).get("involvedObject") or {}
        pod = self._pods.store.get((about.get("namespace", ""), about.get("name", "")))
        if pod is None or status_of(pod).get("phase") != Phase.PENDING:
            return ()
        owner = controller(pod, JUPYTER_KERNELS.kind)
        return (Key(about["namespace"], owner["name"]),) if owner else ()

    async def judge(self, pod: Object, now: datetime) -> Verdict:
        """How far the start of a kernel has come whose pod is there."""
        nodes: Sequence[room.Node] = ()
        before = None
        if judge.wants_nodes(pod):
            before = self._before(pod)
            if not self.times.autoscaler or room.home_node(pod):
                nodes = await self.known_nodes()
        return judge.judge(
            pod,
            self._events.store.by_index(BY_POD, uid_of(pod)),
            times=self.times,
            now=now,
            before=before,
            nodes=nodes,
            queue=self._queue_says(pod),
        )

    def kernel_of_workload(
        self, _key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Which kernel a Workload of Kueue concerns: its pod's."""
        key = kueue.pod_of(new or old or {"metadata": {}})
        pod = self._pods.store.get(key) if key else None
        owner = controller(pod, JUPYTER_KERNELS.kind) if pod else None
        return (Key(namespace_of(pod), owner["name"]),) if pod and owner else ()

    def _queue_says(self, pod: Object) -> str:
        if self._workloads is None or kueue.GATE not in gates(pod):
            return ""
        found = self._workloads.store.by_index(BY_POD, uid_of(pod))
        return kueue.words(found[0] if found else None)

    def _before(self, pod: Object) -> int | None:
        clock = asyncio.get_running_loop().time
        if clock() >= self._line_until:
            store = self._pods.store
            self._line = line.Line(
                store.by_index(UNSCHEDULED, ""), held_by_owner(store.by_index(WITH_GPUS, ""))
            )
            self._line_until = clock() + _LINE_AGE
        return self._line.before(pod)

    async def known_nodes(self) -> Sequence[room.Node]:
        """The cluster's nodes, as they were a moment ago; none where they may not be listed."""
        clock: Callable[[], float] = asyncio.get_running_loop().time
        async with self._asking:
            if clock() < self._nodes_until:
                return self._nodes
            try:
                listed = await self._cluster.list(NODES, None)
            except ApiError as error:
                log.info("nodes are not known, so no kernel is too large for them: %s", error)
                self._nodes = ()
                refused = error.status == 403
                self._nodes_until = clock() + (_NODES_REFUSED_AGE if refused else _NODES_AGE)
            else:
                self._nodes = [room.node(item) for item in listed.get("items") or []]
                self._nodes_until = clock() + _NODES_AGE
            return self._nodes
