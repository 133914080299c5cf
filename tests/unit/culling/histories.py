"""One kernel's life at random, in virtual time, by the real decisions of service and gateway.

What is true is the generator's: what clients have sent and the kernel has not done yet. A gateway
of one or two processes hears of it late; it reports late, or not at all where a process is killed;
it can't be reached now and then. The service decides by what was reported, with the code that runs
in a cluster: `Culling.look`, `only_puts_off`, the gateway's `activity`. Only the clock, the network
and Kubernetes are the generator's.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway.kernel_resource import connections_elsewhere, last_connected
from hub_service import timestamps
from hub_service.culling import Demand, Policy, only_puts_off, record
from hub_service.culling import activity as reported
from hub_service.culling.keeping import Kept, keep, status_of_kept
from hub_service.gateways.activity import Active, Sealed, Unknown
from hub_service.kube import Key
from hub_service.reconcile.culling import Culling
from tests.unit.culling.gateway import a_kernel, at, seconds

KEY = Key("users", "kernel-a")
# Seconds after the last thing that happens to it for which a kernel is watched.
_REST = 3000.0
# Longer than anything here, to compare with.
_NEVER = 1e9


class BrokenError(AssertionError):
    """What must never be."""


@dataclass(eq=False)
class Process:
    """One process of the gateway.

    listens: whether it hears the kernel yet, which may be at work by then. heard: until when what
    the kernel has published is on its way. written: its last report.
    known_dead: when the service learns that it is gone.
    """

    name: str
    activity: activities.Activity
    tabs: int = 0
    listens: bool = False
    alive: bool = True
    held: bool = False
    revived: bool = False
    heard: float = 0.0
    written: dict[str, Any] | None = None
    writing: bool = False
    known_dead: float = _NEVER


@dataclass
class Seals:
    """What the service asks of gateways, and the answer, in place of requests over a network."""

    question: Callable[[], Any] | None = None
    answer: Any = None

    def ask(self, _key: Key, question: Callable[[], Any]) -> None:
        """Keep the question until it is on its way."""
        self.question = question


class History:
    """`run` it. ended: for what the kernel was culled, if it was; saw: what has happened in it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self.ended: str | None = None
        self.saw: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._policy = _rules(self._chance)
        self._kernel = a_kernel({})
        self._kernel["spec"] |= {"kernelID": "an-id", "gateway": {"name": "shared"}}
        self._work: list[tuple[str, str, float]] = []  # not done yet: kind, id, how long it takes
        self._debugger: Process | None = None
        # When it was known last that a tab, or a debugger, had gone with a process' container.
        self._left = self._debugged = 0.0
        self._demand: Demand | None = None
        self._unreachable_until = 0.0
        self._processes = [self._process() for _ in range(self._chance.choice((1, 1, 2)))]
        self._timer = _NEVER
        self._seals = Seals()
        self._asking = False
        self._unknown_until = 0.0  # before which the service had no way to know what is true
        self._due = _NEVER
        self._culling: Any = Culling(
            gateways=self,  # type: ignore[arg-type]
            gateway_urls=lambda *_: [process.name for process in self._listed()],
            covers=lambda _: True,
            seals=self._seals,  # type: ignore[arg-type]
            client=self,  # type: ignore[arg-type]
            policies=self,  # type: ignore[arg-type]
            is_overdue=lambda _: False,
            demands=lambda _: self._demand,
        )

    # What the service looks into, in place of its copies of the cluster.

    @property
    def store(self) -> dict[Any, Any]:
        """The gateways."""
        return {("users", "shared"): {"metadata": {"name": "shared"}}}

    def of(self, _kernel: Any) -> Policy:
        """The rules."""
        return self._policy

    def seal(self, *_: Any, **__: Any) -> None:
        """Never called: `_reconcile` takes the question apart."""

    # The run.

    def run(self) -> History:
        """Until the kernel is culled, or nothing is to come any more. BrokenError."""
        chance, second, seed = self._chance, 1.0, self.seed
        for process in self._processes:
            self._at(chance.uniform(0.1, chance.choice((3, 60))), partial(self._connect, process))
        for _ in range(chance.randint(1, 10)):
            second += chance.choice((0.01, 0.5, 5, 30, 200)) * chance.uniform(0.5, 2)
            self._at(second, getattr(self, f"_{chance.choice(_HAPPENINGS)}"))
        end = second + _REST
        while self.ended is None:
            when = min(self._events[0][0] if self._events else _NEVER, self._timer)
            if when > end:
                break
            self.now = when
            if when > self._due + 1.0:
                raise BrokenError(f"history {seed}: {when - self._due:.2f} s late at {when:.2f}")
            if when == self._timer:
                self._reconcile()
            else:
                heapq.heappop(self._events)[2]()
            self._note_when_due()
        return self

    def moment(self) -> Any:
        """What every clock shows."""
        return at(self.now)

    def _at(self, second: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (second, next(self._order), happens))

    def _in(self, least: float, most: float, happens: Callable[[], None]) -> None:
        self._at(self.now + self._chance.uniform(least, most), happens)

    # What must hold.

    @property
    def _is_busy(self) -> bool:
        return bool(self._work) or self._debugger is not None

    def _is_known(self) -> bool:
        """Whether all that the service needs is before it, or one question away."""
        there = self._listed()
        return (
            all(process.alive for process in there)
            and bool(there)
            and self.now >= self._unreachable_until
            and not self._is_busy
            and all(activities.may_seal(process.activity, at(_NEVER)) for process in there)
            and reported.of(self._kernel).idle_since is not None
            and not any(process.writing for process in there)
        )

    def _note_when_due(self) -> None:
        """No idle kernel outlives its deadline by more than a second once its state is known."""
        if self._is_known():
            self._due = max(self._deadline(latest=True), self._unknown_until)
        else:
            self._due, self._unknown_until = _NEVER, max(self.now, self._unknown_until)

    def _deadline(self, *, latest: bool) -> float:
        """When an idle kernel is to end by what its gateway knows; written here once more."""
        rules, tabs = self._policy, sum(process.tabs for process in self._listed())
        said = reported.of(self._kernel)
        activity = [process.activity for process in self._listed()]
        moments = [one.last_activity for one in activity]
        if latest:  # some processes hear later than others that it has nothing to do
            moments += [one.idle_since for one in activity if one.idle_since is not None]
            moments += [said.idle_since] if said.idle_since is not None else []
        since = max(self._debugged, *map(seconds, moments))
        kept = record.of(self._kernel, said, rules).kept_until
        until = seconds(kept) if kept else 0.0
        ends = [_NEVER]
        if rules.max_age is not None:
            ends.append(max(rules.max_age, until, since + 10))
        if not (rules.connected and tabs):
            left = max(seconds(said.left), self._left) if said.left else self._left
            left = left if rules.connected else 0.0
            if rules.idle_timeout is not None:
                ends.append(max(max(since, left) + rules.idle_timeout, until))
            if rules.reclaim_after is not None and self._demand is not None:
                waits = seconds(self._demand.since)
                ends.append(max(max(since, left) + rules.reclaim_after, until, waits))
        return min(ends)

    # The service.

    def _reconcile(self) -> None:
        if self._asking or self.ended:
            return
        self._timer = _NEVER
        answer, self._seals.answer = self._seals.answer, None
        if isinstance(answer, Sealed):
            self.ended = self._culling.sealed(KEY).reason
            return
        look = self._culling.look(KEY, self._kernel, answer)
        if look.noted is not None:
            self._merge({"culling": look.noted})
        if look.again is not None:
            self._timer = self.now + look.again
        if self._seals.question is not None:
            question, self._seals.question = self._seals.question, None
            self._asking = True
            self._in(0.001, 0.2, partial(self._ask, question, self._listed()))

    def _merge(self, status: dict[str, Any]) -> None:
        self._kernel = {**self._kernel, "status": _merged(self._kernel["status"], status)}

    def _written(self, activity: dict[str, Any]) -> None:
        """A report arrives, and with it the watch's event."""
        before = self._kernel
        self._merge({"activity": activity})
        if not only_puts_off(before, self._kernel):
            self._reconcile()

    # Gateway and service.

    def _ask(self, question: Any, asked: list[Process]) -> None:
        """Each process holds the kernel, one after the other, and all seal it, or none."""
        (_, _, idle_before), more = question.args, question.keywords
        self.saw["asked"] += 1
        busy: Active | Unknown | None = None
        for process in asked:
            if not process.alive or self.now < self._unreachable_until:
                busy = Unknown("it does not answer")
            elif (more["unless_connected"] and process.tabs) or not activities.may_seal(
                process.activity, idle_before
            ):
                activity = process.activity
                busy = Active(activity.last_activity, activity.execution_state)
            if busy is not None:
                break
            process.held = True
        if busy is None:
            self._check_idle(more["why"].reason)
            self._in(0.001, 0.1, partial(self._answer, Sealed()))
            return
        for process in asked:
            process.held = False
        if isinstance(busy, Unknown):
            self._unknown_until = self.now + 10.3  # when it is asked again
        self._in(0.001, 0.2, partial(self._answer, busy))

    def _check_idle(self, reason: str) -> None:
        """No kernel is ended that is busy in truth, nor one that its rules keep."""
        if self._is_busy:
            raise BrokenError(f"history {self.seed}: culled at {self.now:.2f} while busy")
        tabs = any(process.tabs for process in self._processes if process.alive)
        if self._policy.connected and tabs and reason != "MaximumAge":
            raise BrokenError(f"history {self.seed}: culled at {self.now:.2f} with a notebook open")
        if self.now < self._deadline(latest=False) - 0.001:
            raise BrokenError(f"history {self.seed}: culled at {self.now:.2f}, too early")

    def _answer(self, answer: Any) -> None:
        self._asking, self._seals.answer = False, answer
        self._reconcile()

    def _listed(self) -> list[Process]:
        """Those that the service takes for running."""
        return [process for process in self._processes if self.now < process.known_dead]

    def _update(self, process: Process, activity: activities.Activity) -> None:
        process.activity = activity
        self._report(process)

    def _report(self, process: Process) -> None:
        """Write what is new, one write at a time; some fail, and are tried again."""
        report = activities.status(
            process.activity,
            process.tabs,
            elsewhere=connections_elsewhere(self._kernel, process.name),
            left_elsewhere=last_connected(self._kernel),
            process=process.name,
        )
        if process.writing or not activities.worth_reporting(process.written, report):
            return
        process.writing = True
        late = self._chance.random() < 0.1
        self._in(*((5, 60) if late else (0.005, 0.3)), partial(self._write, process, report))

    def _write(self, process: Process, report: dict[str, Any]) -> None:
        if self.now >= process.known_dead or (not process.alive and self._chance.random() < 0.5):
            self.saw["report lost"] += 1
            return
        process.written = report
        self._written(report)
        self._in(0.7, 1.0, partial(self._write_next, process))

    def _write_next(self, process: Process) -> None:
        process.writing = False
        if process.alive:
            self._report(process)

    # The kernel.

    def _publish(self, kind: str, work: str, state: str | None) -> None:
        """A status, or for None something that a cell prints."""
        header = {"msg_type": kind, "msg_id": work}
        for process in self._processes:
            if not process.listens:
                continue
            process.heard = max(process.heard, self.now + self._chance.uniform(0, 0.3))
            self._at(process.heard, partial(self._hear, process, header, state))

    def _hear(self, process: Process, header: dict[str, str], state: str | None) -> None:
        if process.alive:
            message = "stream" if state is None else "status"
            heard = activities.published(process.activity, message, header, state, self.moment())
            self._update(process, heard)

    def _begin(self) -> None:
        kind, work, lasts = self._work[0]
        self._publish(kind, work, "busy")
        if self._chance.random() < 0.5:
            self._in(0, lasts, partial(self._publish, kind, work, None))
        self._at(self.now + lasts, self._finish)

    def _finish(self) -> None:
        kind, work, _ = self._work.pop(0)
        self._publish(kind, work, "idle")
        if self._work:
            self._begin()
        for process in self._processes:
            if process.revived:
                self._ask_kernel(process)

    def _connect(self, process: Process) -> None:
        process.listens = True
        self._ask_kernel(process)

    def _ask_kernel(self, process: Process) -> None:
        """The gateway's own first request, which the kernel answers when it has nothing to do."""
        process.revived = bool(self._work)
        if not self._work:
            process.heard = max(process.heard, self.now + 0.01)
            self._at(process.heard, partial(self._answered, process))

    def _answered(self, process: Process) -> None:
        if process.alive:
            self._update(process, activities.answered(process.activity, self.moment()))

    # What happens.

    def _pass_on(self, kind: str, work: str, command: str = "") -> Process | None:
        """A client sends something; the process that takes it, if one does."""
        there = [one for one in self._processes if one.alive and one.listens and not one.held]
        if not there:
            return None
        process = self._chance.choice(there)
        header = {"msg_type": kind, "msg_id": work}
        passed = activities.passed_on(process.activity, header, self.moment(), command)
        self._update(process, passed)
        return process

    def _send(self, kind: str, lasts: float) -> None:
        work = f"{kind}-{next(self._order)}"
        if self._pass_on(kind, work) is not None:
            self.saw[kind] += 1
            self._work.append((kind, work, lasts))
            if len(self._work) == 1:
                self._begin()

    def _cell(self) -> None:
        longest = self._chance.choice((0.01, 1, 60, 2000))
        for _ in range(self._chance.choice((1, 1, 3))):
            self._send("execute_request", longest * self._chance.random())

    def _widget(self) -> None:
        self._send("comm_msg", self._chance.choice((0.01, 2, 20)) * self._chance.random())

    def _attach(self) -> None:
        if self._debugger is None:
            self._debugger = self._pass_on("debug_request", "attach", "attach")
            self._in(1, 300, self._detach)

    def _detach(self) -> None:
        debugger = self._debugger
        if debugger is not None and not debugger.held:
            header = {"msg_type": "debug_request", "msg_id": "disconnect"}
            self._debugger = None
            gone = activities.passed_on(debugger.activity, header, self.moment(), "disconnect")
            self._update(debugger, gone)

    def _open(self) -> None:
        process = self._chance.choice(self._processes)
        if process.alive:
            process.tabs += 1
            self._report(process)

    def _close(self) -> None:
        for process in self._processes:
            if process.tabs and process.alive:
                process.tabs -= 1
                if not process.tabs:
                    if self._debugger is process:
                        self._debugger = None
                    self._update(process, activities.left(process.activity, self.moment()))
                return

    def _poll(self) -> None:
        kind = self._chance.choice(("kernel_info_request", "usage_request", "comm_info_request"))
        self._pass_on(kind, kind)
        for state in ("busy", "idle"):  # on the control channel, beside what it works on
            self._publish(kind, kind, state)

    def _kill(self) -> None:
        process = self._chance.choice(self._processes)
        if not process.alive or process.held:
            return
        process.alive = False
        if self._debugger is process:
            self._debugger = None
        if self._chance.random() < 0.5:
            self.saw["container restarted"] += 1
            self._in(1, 30, partial(self._revive, process))
            return
        process.known_dead = self.now + self._chance.uniform(1, 5)
        self._unknown_until = max(self._unknown_until, process.known_dead)
        self._at(process.known_dead, partial(self._forget, process))
        self._in(5, 60, self._revive)

    def _forget(self, process: Process) -> None:
        """What it said of itself is taken out, as nobody else will."""
        said = self._kernel["status"]["activity"]
        left = sum((said.get("connectionsByPod") or {}).values()) - process.tabs
        gone = {name: {process.name: None} for name in activities.BY_POD}
        activity = {"connections": max(left, 0), **gone}
        if process.tabs and left <= 0:
            activity["lastConnected"] = timestamps.microseconds(self.moment())
        self._written(activity)

    def _revive(self, before: Process | None = None) -> None:
        """Another process, or a container in the pod of the one before."""
        process = self._process()
        if before is not None:
            process.name, before.known_dead = before.name, self.now
            said = self._kernel["status"]["activity"]
            if (said.get("connectionsByPod") or {}).get(process.name):
                self._left = self.now
            if (said.get("debuggingByPod") or {}).get(process.name):
                self._debugged = self.now
        process.listens = True
        found = self._kernel["status"]["activity"]
        process.activity = activities.adopted(found, self.moment(), process.name)
        process.written = activities.reported_by(found, process.name)
        there = (one for one in self._processes if one.alive or one.known_dead == _NEVER)
        self._processes = [*there, process]
        self._report(process)
        self._in(0.1, 3, partial(self._ask_kernel, process))

    def _process(self) -> Process:
        return Process(f"gateway-{next(self._order)}", activities.started(self.moment()))

    def _cut_off(self) -> None:
        self._unreachable_until = self.now + self._chance.uniform(1, 60)
        self._unknown_until = max(self._unknown_until, self._unreachable_until)

    def _wait(self) -> None:
        self._demand = Demand(self.moment(), "another start waits for 1 GPU")
        self._reconcile()

    def _give_up(self) -> None:
        if not self._asking:  # what is under way then ends the kernel, for nobody
            self._demand = None

    def _keep(self) -> None:
        kept = keep(self._kernel, self._policy, self.moment())
        if isinstance(kept, Kept) and not self._asking:  # too late otherwise
            self.saw["kept"] += 1
            self._merge(status_of_kept(kept, self.moment()))
            self._reconcile()


_HAPPENINGS = (
    *("cell", "cell", "cell", "widget", "attach", "open", "close", "close", "poll"),
    *("kill", "cut_off", "wait", "give_up", "keep", "keep"),
)


def _rules(chance: random.Random) -> Policy:
    return Policy(
        idle_timeout=chance.choice((None, 1, 2, 5, 30, 120, 600)),
        max_age=chance.choice((None, None, 30, 300, 1500)),
        connected=chance.random() < 0.3,
        warning=chance.choice((0, 1, 10, 60)),
        extension=chance.choice((5, 60)),
        extensions=chance.choice((0, 1, 2)),
        reclaim_after=chance.choice((None, 1, 20)),
    )


def _merged(present: Any, patch: Any) -> Any:
    """What a JSON merge patch makes of a value."""
    if not isinstance(patch, dict):
        return patch
    result = dict(present) if isinstance(present, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
