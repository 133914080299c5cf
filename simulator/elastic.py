"""What we do: kernels as the service would treat them, by the functions that it imports.

`quota.decide` admits, `sharing.line` says who is next, `culling.decide` when a kernel ends, and
`sharing.victims` whose is reclaimed. The kernels are JupyterKernels as the service would see them,
with what a gateway would report of them. Of its own this has only the clock, the people, and a
scheduler that places whatever it is shown where it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hub_service import culling, timestamps
from hub_service.culling import Confirm, Demand, Policy, Rules
from hub_service.culling import activity as activities
from hub_service.culling import policy as policies
from hub_service.culling.decide import reclaimable_from
from hub_service.kinds import ADMITTED, BUSY, IDLE, RUNNING, Object, Phase
from hub_service.quotas import quota
from hub_service.quotas.limits import Limit
from hub_service.sharing.line import Entrance, Waiting, fair_order
from hub_service.sharing.room import Room
from hub_service.sharing.victims import Holder, victims
from simulator.day import Day, Person

GPU = "nvidia.com/gpu"
_MIDNIGHT = datetime(2030, 1, 1, tzinfo=UTC)
_LINE = GPU


@dataclass(eq=False)
class _Kernel:
    """A JupyterKernel, and where its pod is."""

    item: Object
    person: Person
    since: float
    released: bool = False
    node: str | None = None
    ending: bool = False

    @property
    def key(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def gpus(self) -> int:
        return self.person.session.gpus

    @property
    def amounts(self) -> Mapping[str, Decimal]:
        return {GPU: Decimal(self.gpus)}


class Elastic:
    """Kernels under the service's rules.

    limits: of each user, as quotas have them; where they are reached a start waits.
    """

    def __init__(self, day: Day, rules: Rules, limits: Mapping[str, Limit]) -> None:
        self._day = day
        self._rules = rules
        self._limits = limits
        self._kernels: dict[str, _Kernel] = {}
        self._of: dict[Person, _Kernel] = {}
        self._lost: set[Person] = set()
        self._closed: set[Person] = set()
        self._policies: dict[int, Policy] = {}
        self._count = 0

    def open(self, person: Person) -> None:
        """The notebook starts its kernel."""
        self._start(person)
        self._day.begin(person)

    def want(self, person: Person) -> None:
        """Run it where there is a kernel; else start one, and load what it lacks."""
        if person in self._of:
            self._try(self._of[person])
        else:
            self._start(person)

    def finished(self, person: Person) -> None:
        """The gateway reports that the kernel is idle."""
        kernel = self._of[person]
        self._report(kernel, IDLE)
        self._look(kernel)
        self._share()

    def close(self, person: Person) -> None:
        """Stopping a server ends its kernels."""
        self._closed.add(person)
        kernel = self._of.get(person)
        if kernel is not None and not kernel.ending:
            self._end(kernel)

    # --- starts --------------------------------------------------------------------------------

    def _start(self, person: Person) -> None:
        self._count += 1
        session = person.session
        resources = {"limits": {GPU: str(session.gpus)}}
        item: Object = {
            "metadata": {
                "name": f"kernel-{self._count}",
                "uid": f"{self._count:08}",
                "creationTimestamp": timestamps.microseconds(self._moment()),
            },
            "spec": {
                "owner": session.user,
                "template": {"spec": {"containers": [{"name": "kernel", "resources": resources}]}},
            },
            "status": {"phase": Phase.PENDING},
        }
        kernel = _Kernel(item, person, self._day.now)
        self._kernels[kernel.key] = self._of[person] = kernel
        self._admit(kernel)

    def _admit(self, kernel: _Kernel) -> None:
        """Let the kernel into the line, or let it wait for others of its user to end."""
        decision = quota.decide(
            kernel.item,
            self._of_user(kernel.person.session.user),
            limits=self._limits,
            rules=quota.Rules(quota.WAIT),
            assumed=(),
            now=self._moment(),
        )
        if decision.admitted:
            condition = {"type": ADMITTED, "status": "True", "reason": decision.reason}
            kernel.item["status"] |= {"incarnation": 0, "conditions": [condition]}
            self._share()
        elif decision.verdict == quota.REFUSE:
            raise ValueError(f"{kernel.person.session.name}: {decision.message}")

    def _of_user(self, user: str) -> list[Object]:
        return [one.item for one in self._kernels.values() if one.item["spec"]["owner"] == user]

    def _place(self, kernel: _Kernel, node: str) -> None:
        self._day.pool.take(node, kernel.gpus, self._day.now)
        self._day.kernels_started += 1
        kernel.node = node
        ready = self._day.now + self._day.costs.start
        running = {"type": RUNNING, "status": "True", "reason": "Answering"}
        kernel.item["status"]["phase"] = Phase.RUNNING
        kernel.item["status"]["startTime"] = timestamps.microseconds(self._moment(ready))
        kernel.item["status"]["conditions"].append(running)
        self._day.at(ready, lambda: self._answers(kernel))

    def _answers(self, kernel: _Kernel) -> None:
        """The kernel's first answer."""
        if kernel.ending:
            return
        self._report(kernel, IDLE)
        self._try(kernel)
        self._look(kernel)

    def _try(self, kernel: _Kernel) -> None:
        """Run what its person waits for, if it answers."""
        person = kernel.person
        if person.wanted is None or "activity" not in kernel.item["status"]:
            return
        preparing = 0.0
        if person in self._lost:
            self._lost.discard(person)
            preparing = self._day.costs.reload
        self._report(kernel, BUSY)
        self._day.execute(person, preparing)

    # --- ends ----------------------------------------------------------------------------------

    def _report(self, kernel: _Kernel, state: str) -> None:
        """As the gateway of a kernel with one notebook open in a browser."""
        now = timestamps.microseconds(self._moment())
        kernel.item["status"]["activity"] = {
            "executionState": state,
            "lastActivity": now,
            "idleSince": now if state == IDLE else None,
            "connections": 1,
        }

    def _look(self, kernel: _Kernel, demand: Demand | None = None) -> None:
        """Do what is decided of a kernel, now and when that says to look again."""
        if kernel.ending or kernel.key not in self._kernels:
            return
        verdict = culling.decide(
            kernel.item, activities.of(kernel.item), self._policy(kernel), demand, self._moment()
        )
        if isinstance(verdict, Confirm):
            # The gateway is asked, which knows what is true.
            if kernel.item["status"]["activity"]["executionState"] == IDLE:
                self._day.kernels_ended_idle += 1
                self._day.kernels_reclaimed += demand is not None
                self._end(kernel)
        elif verdict.until is not None and demand is None:
            seen = kernel.item["status"].get("activity")

            def again() -> None:
                if kernel.item["status"].get("activity") is seen:
                    self._look(kernel)

            # Timestamps have microseconds.
            self._day.at(self._seconds(verdict.until) + 1e-5, again)

    def _end(self, kernel: _Kernel) -> None:
        kernel.ending = True
        person = kernel.person
        del self._of[person]
        if person.done:
            self._lost.add(person)

        def gone() -> None:
            del self._kernels[kernel.key]
            if kernel.node is not None:
                self._day.pool.give(kernel.node, kernel.gpus, self._day.now)
            for other in [*self._kernels.values()]:
                if other.item["spec"]["owner"] == person.session.user and _undecided(other):
                    self._admit(other)
            self._share()

        stop = self._day.costs.stop if kernel.node is not None else 0.0
        self._day.at(self._day.now + stop, gone)

    # --- sharing -------------------------------------------------------------------------------

    def _share(self) -> None:
        """Let on who is next in line, place what fits, and reclaim for those that don't."""
        pending = [
            kernel
            for kernel in self._kernels.values()
            if kernel.node is None and not kernel.ending and not _undecided(kernel)
        ]
        if not pending:
            return
        nodes = frozenset(self._day.pool.free)
        held: dict[str, int] = {}
        for kernel in self._kernels.values():
            if kernel.node is not None:
                owner = kernel.person.session.user
                held[owner] = held.get(owner, 0) + kernel.gpus
        room = self._room()
        entrance = Entrance(room.copy(), most=1)
        left = []
        for one in fair_order((self._waiting(kernel, nodes) for kernel in pending), held):
            kernel = self._kernels[one.key[1]]
            if one.released:
                entrance.note(one)
            elif entrance.lets_in(one):
                kernel.released = True
            node = room.take(one.amounts, one.nodes) if kernel.released else None
            if node is None:
                left.append(replace(one, released=kernel.released))
            else:
                self._place(kernel, node)
        self._reclaim(left)

    def _waiting(self, kernel: _Kernel, nodes: frozenset[str]) -> Waiting:
        return Waiting(
            key=_key(kernel),
            owner=kernel.person.session.user,
            since=self._moment(kernel.since),
            gpus=kernel.gpus,
            amounts=kernel.amounts,
            line=_LINE,
            nodes=nodes,
            released=kernel.released,
            refused=kernel.released,
        )

    def _room(self) -> Room:
        free = self._day.pool.free
        return Room({node: {GPU: Decimal(gpus)} for node, gpus in free.items()})

    def _reclaim(self, waiting: list[Waiting]) -> None:
        room, holders, later = self._room(), [], []
        for kernel in self._kernels.values():
            if kernel.node is None:
                continue
            if kernel.ending:  # on its way
                room.give(kernel.amounts, kernel.node)
                continue
            activity = activities.of(kernel.item)
            since = reclaimable_from(kernel.item, activity, self._policy(kernel))
            if since is None or activity.idle_since is None:
                continue
            if since > self._moment():
                later.append(since)
                continue
            holder = Holder(_key(kernel), kernel.node, kernel.amounts, activity.idle_since)
            holders.append(holder)
        for key, one in victims(waiting, holders, room).items():
            kernel = self._kernels[key[1]]
            self._look(kernel, Demand(one.since, f"another start waits for {one.gpus} GPUs"))
        if waiting and later:
            self._day.at(self._seconds(min(later)) + 1e-5, self._share)

    def _policy(self, kernel: _Kernel) -> Policy:
        """The same for all that ask for as many GPUs: nothing else differs here."""
        if kernel.gpus not in self._policies:
            self._policies[kernel.gpus] = policies.of_kernel(
                kernel.item, spec=None, template=None, gateway=None, groups=(), rules=self._rules
            )
        return self._policies[kernel.gpus]

    def _moment(self, at: float | None = None) -> datetime:
        return _MIDNIGHT + timedelta(seconds=self._day.now if at is None else at)

    def _seconds(self, moment: datetime) -> float:
        return (moment - _MIDNIGHT).total_seconds()


def _key(kernel: _Kernel) -> tuple[str, str]:
    return "users", kernel.key


def _undecided(kernel: _Kernel) -> bool:
    return "incarnation" not in kernel.item["status"]
