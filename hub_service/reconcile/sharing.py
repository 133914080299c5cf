"""Who waits for a GPU goes on to the scheduler in fair order, and idle kernels end for them.

One reconciliation for all that wait, as they are weighed against each other. It goes on when the
pod of a kernel with GPUs comes, gets a node or goes; while somebody waits also when a kernel turns
idle or busy, and now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from hub_service import timestamps
from hub_service.culling import Demand, Observed, activity
from hub_service.culling.decide import reclaimable_from
from hub_service.kernels import kernel
from hub_service.kinds import (
    JUPYTER_KERNELS,
    PODS,
    Object,
    controller,
    is_deleting,
    namespace_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.reconcile.policies import Policies
from hub_service.reconcile.starts import WITH_GPUS
from hub_service.sharing import kueue, pods
from hub_service.sharing.line import Entrance, Waiting, fair_order
from hub_service.sharing.pods import Asked
from hub_service.sharing.room import Room
from hub_service.sharing.suitable import Suitable
from hub_service.sharing.victims import Holder, believe_the_scheduler, demand, is_lacking, victims
from hub_service.starts.room import Node

log = logging.getLogger(__name__)

# The one key that there is to reconcile.
LINE = Key("", "line")
_LOOK_AGAIN = 10.0
# After something was given back the scheduler may take so many seconds to try a pod again (it lets
# up to 10 s pass). Until then its word on that pod is of before.
_SETTLES_IN = 15.0
# A kernel whose gateway could not say is nobody's victim for so many seconds.
_PUT_OFF = 30.0
_AT_A_TIME = 16
# So many times as long as a look has taken is the pause after it.
_SHARE = 10.0


class _Held(NamedTuple):
    """A pod that has its GPUs, what it asked for, its kernel, and whether it ends already."""

    pod: Object
    asked: Asked
    kernel: Object | None
    is_leaving: bool


class Sharing:
    """`pods` needs the index WITH_GPUS. `fair`: whether there is a line of ours; `most`: how many
    of it that don't fit go on. `covers`: whether a namespace is looked after; pods of others count
    for what is free. `look_at` is called with kernels that are chosen, or no longer are. `queue`:
    of Kueue's, for those that name none.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        pods: Reflector,
        nodes: Callable[[], Awaitable[Sequence[Node]]],
        policies: Policies,
        covers: Callable[[str], bool],
        fair: bool,
        most: int,
        look_at: Callable[[Key], None],
        queue: str | None = None,
        observed: Observed = lambda _, doing: doing,
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods
        self._nodes = nodes
        self._policies = policies
        self._covers = covers
        self._fair = fair
        self._most = most
        self._look_at = look_at
        self._queue = queue
        self._observed = observed
        self._demands: dict[Key, Demand] = {}
        self._put_off: dict[Key, float] = {}
        self._suitable = Suitable(())
        self._entrance = Entrance(Room({}), most)
        self._making: dict[Key, Waiting] = {}
        self._asked: dict[str, Asked] = {}
        self._somebody_waits = False
        self._makes_way = False
        # What was held, and on which nodes, when it was looked last, and since when it is not more.
        self._seen: tuple[frozenset[str], Sequence[Node]] = (frozenset(), ())
        self._settled_at = 0.0
        self._not_before = 0.0

    def demand_of(self, key: Key) -> Demand | None:
        """Who waits for what a kernel holds, if it was chosen to end for them."""
        return self._demands.get(key)

    def put_off(self, key: Key) -> None:
        """Choose another kernel for now: this one's gateway can't say what it does."""
        self._put_off[key] = asyncio.get_running_loop().time() + _PUT_OFF

    @contextmanager
    def joining(self, pod: Object) -> Iterator[Object]:
        """A pod as it is to be created, in the block: behind the gate if others wait before it.

        One that is for a queue of Kueue's waits there.
        """
        if pods.asks_for_gpus(pod) is None:
            yield pod
            return
        queue = kueue.queue_of(pod) or self._queue
        if queue:
            yield kueue.queued(pod, queue)
            return
        try:
            waits = self._fair and pods.waits(pod)
            one = pods.waiting(pod, pods.asked(pod), self._suitable) if waits else None
        except (AttributeError, KeyError, TypeError, ValueError):
            one = None  # what is wrong with its template, the API server says
        if one is None:
            yield pod
            return
        if not self._entrance.lets_in(one):
            yield pods.gated(pod)
            return
        # It counts as one that the scheduler sees before the copy has it.
        self._making[key_of(pod)] = one
        try:
            yield pod
        finally:
            del self._making[key_of(pod)]

    def of_pod(self, _key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """The line, where a pod with GPUs came, went, or came further."""
        if pods.asks_for_gpus(new or old or {}) is None or pods.standing(old) == pods.standing(new):
            return ()
        return (LINE,)

    def of_kernel(self, key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """The line, where somebody waits and a kernel has turned idle or busy, or is kept.

        Of one that was chosen every report counts: another may be the longest idle by now.
        """
        changed = key in self._demands or _doing(old) != _doing(new)
        return (LINE,) if self._somebody_waits and changed else ()

    async def reconcile(self, _key: Key) -> float | None:
        """Let on who is next, and choose who ends; seconds until the next look."""
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._not_before - clock())
        nodes = await self._nodes()
        began = clock()
        here = self._pods.store.by_index(WITH_GPUS, "")
        asked = {
            uid_of(pod): self._asked.get(uid_of(pod)) or pods.asked(pod)
            for pod in self._pods.store
            if pods.holds(pod) or pods.asks_for_gpus(pod) is not None
        }
        self._asked, self._suitable = asked, Suitable(nodes)
        order = fair_order(
            (
                pods.waiting(pod, asked[uid_of(pod)], self._suitable)
                for pod in here
                if pods.waits(pod) and self._covers(namespace_of(pod))
            ),
            pods.held_by_owner(here),
        )
        held = [
            _Held(pod, asked[uid_of(pod)], *self._kernel_of(pod)) for pod in here if pods.holds(pod)
        ]
        free = pods.free(
            nodes,
            ((pod, asked[uid_of(pod)].amounts) for pod in self._pods.store if uid_of(pod) in asked),
        )
        self._makes_way = any(map(pods.makes_way, here))
        self._somebody_waits = bool(order)
        again = self._reclaim([one for one in order if not one.spare], held, free.copy(), nodes)
        going_on = self._next(order, free)
        # Where thousands wait a look takes a while: most of the time is for everything else.
        self._not_before = clock() + _SHARE * (clock() - began)
        await self._release(going_on)
        return again

    def _next(self, order: Sequence[Waiting], free: Room) -> list[Waiting]:
        """Those who go on to the scheduler now."""
        self._entrance = Entrance(free, self._most)
        making = [one for key, one in self._making.items() if self._pods.store.get(key) is None]
        for one in [*(one for one in order if one.released), *making]:
            self._entrance.note(one)
        gated = [one for one in order if not one.released]
        return [one for one in gated if not self._fair or self._entrance.lets_in(one)]

    async def _release(self, waiting: Sequence[Waiting]) -> None:
        at_a_time = asyncio.Semaphore(_AT_A_TIME)

        async def release(key: Key) -> None:
            async with at_a_time:
                pod = self._pods.store.get(key)
                if pod is None or not pods.is_gated(pod):
                    return
                try:
                    patch = pods.without_gate(pod)
                    self._pods.record(await self._cluster.merge_patch(PODS, *key, patch))
                except ApiError as error:
                    if error.status != 404:
                        raise

        keys = [Key(*one.key) for one in waiting]
        results = await asyncio.gather(*map(release, keys), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _reclaim(
        self, order: Sequence[Waiting], held: Sequence[_Held], room: Room, nodes: Sequence[Node]
    ) -> float | None:
        """Choose kernels for those that wait and don't fit; `room`: what is free now."""
        clock, now = asyncio.get_running_loop().time(), timestamps.now()
        settles_in = self._settles_in(held, nodes, clock)
        if settles_in <= 0:
            believe_the_scheduler(order, room)
        for one in held:
            if one.is_leaving:
                room.give(one.asked.amounts, str(one.pod["spec"]["nodeName"]))
        self._put_off = {key: until for key, until in self._put_off.items() if until > clock}
        found: dict[Key, Demand] = {}
        soonest: datetime | None = None
        if is_lacking(order, room.copy()):
            holders, soonest = self._holders(held, now)
            chosen = victims(order, holders, room)
            found = {Key(*key): demand(one) for key, one in chosen.items()}
        self._choose(found)
        if not order:
            return None
        waits = [_LOOK_AGAIN] if settles_in <= 0 else [_LOOK_AGAIN, settles_in]
        if soonest is not None:
            waits.append((soonest - now).total_seconds())
        return max(min(waits), 0.1)

    def _settles_in(self, held: Sequence[_Held], nodes: Sequence[Node], clock: float) -> float:
        """Seconds until the scheduler has tried all that wait with what is free now."""
        here = frozenset(uid_of(one.pod) for one in held)
        known, before = self._seen
        going = self._makes_way or any(one.is_leaving for one in held)
        if going or known - here or [*nodes] != [*before]:
            self._settled_at = clock + _SETTLES_IN
        self._seen = (here, nodes)
        return self._settled_at - clock

    def _holders(
        self, held: Sequence[_Held], now: datetime
    ) -> tuple[list[Holder], datetime | None]:
        """Kernels that may be reclaimed now, and when the next one may be."""
        holders, soonest = [], None
        for one in held:
            if one.kernel is None or one.is_leaving or not self._covers(namespace_of(one.pod)):
                continue
            if key_of(one.kernel) in self._put_off:
                continue
            policy = self._policies.of(one.kernel)
            doing = self._observed(one.kernel, activity.of(one.kernel))
            since = reclaimable_from(one.kernel, doing, policy) if policy else None
            if since is None or doing.idle_since is None:
                continue
            if since > now:
                soonest = min(soonest or since, since)
                continue
            node, amounts = one.pod["spec"]["nodeName"], one.asked.amounts
            holders.append(Holder(key_of(one.kernel), node, amounts, doing.idle_since))
        return holders, soonest

    def _choose(self, found: dict[Key, Demand]) -> None:
        changed = [key for key in self._demands | found if self._demands.get(key) != found.get(key)]
        for key in found.keys() - self._demands.keys():
            log.info("kernel %s: may end, as %s", key, found[key].by)
        self._demands = found
        for key in changed:
            self._look_at(key)

    def _kernel_of(self, pod: Object) -> tuple[Object | None, bool]:
        """The kernel of a pod, None where it has none, as one that is warm; whether it ends."""
        owner = controller(pod, JUPYTER_KERNELS.kind)
        if owner is None:
            return None, is_deleting(pod)
        item = self._kernels.store.get(Key(namespace_of(pod), owner["name"]))
        if item is None or uid_of(item) != owner["uid"]:
            return None, True
        return item, is_deleting(pod) or is_deleting(item) or kernel.is_finished(item)


def _doing(kernel: Object | None) -> tuple[object, ...]:
    status = status_of(kernel or {})
    doing: Object = status.get("activity") or {}
    kept: Object = status.get("culling") or {}
    connected = bool(doing.get("connections"))
    return status.get("phase"), doing.get("executionState"), connected, kept.get("keptUntil")
