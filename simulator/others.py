"""What others do: GPUs of the notebook's own, Enterprise Gateway's culling, and an oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.day import Day, Person


class _Line:
    """Those that wait for GPUs, in their order; one that doesn't fit lets others pass."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._waiting: list[tuple[int, Callable[[str], None]]] = []

    def join(self, gpus: int, begin: Callable[[str], None]) -> None:
        """Take GPUs as soon as there are any; `begin` is told the node."""
        self._waiting.append((gpus, begin))
        self.move()

    def move(self) -> None:
        """Serve those that fit."""
        waiting, self._waiting = self._waiting, []
        for gpus, begin in waiting:
            node = self._day.pool.find(gpus)
            if node is None:
                self._waiting.append((gpus, begin))
            else:
                self._day.pool.take(node, gpus, self._day.now)
                begin(node)

    def give(self, node: str, gpus: int) -> None:
        """Give GPUs back."""
        self._day.pool.give(node, gpus, self._day.now)
        self.move()


class Static:
    """Each notebook's pod has GPUs from login to logout."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._line = _Line(day)
        self._nodes: dict[Person, str] = {}

    def open(self, person: Person) -> None:
        """The notebook waits for its GPUs."""

        def begin(node: str) -> None:
            self._nodes[person] = node
            self._day.begin(person)

        self._line.join(person.session.gpus, begin)

    def want(self, person: Person) -> None:
        """They are there."""
        self._day.execute(person, 0.0)

    def finished(self, person: Person) -> None:
        """They stay."""

    def close(self, person: Person) -> None:
        """The notebook ends."""
        self._line.give(self._nodes.pop(person), person.session.gpus)


class Oracle:
    """Each cell has GPUs for as long as it runs, and nothing is ever loaded again."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._line = _Line(day)
        self._nodes: dict[Person, str] = {}

    def open(self, person: Person) -> None:
        """Nothing is needed yet."""
        self._day.begin(person)

    def want(self, person: Person) -> None:
        """The cell waits for GPUs, if there are none."""

        def begin(node: str) -> None:
            self._nodes[person] = node
            self._day.execute(person, 0.0)

        self._line.join(person.session.gpus, begin)

    def finished(self, person: Person) -> None:
        """It gives them back."""
        self._line.give(self._nodes.pop(person), person.session.gpus)

    def close(self, person: Person) -> None:
        """Nothing is held."""


def enterprise_gateway_culls(
    *, idle: float, timeout: float, busy: bool, connections: int, cull_connected: bool
) -> bool:
    """Whether Enterprise Gateway ends a kernel when it looks at it.

    As `cull_kernel_if_idle` of jupyter_server's kernel manager, which it inherits, with
    `cull_busy` false; tests/gateway holds the two against each other. idle: seconds since the
    kernel's last activity.
    """
    return idle > timeout and not busy and (cull_connected or not connections)


@dataclass(eq=False)
class _Kernel:
    node: str | None = None
    ready: float = 0.0
    active: float = 0.0


@dataclass
class _Of:
    kernel: _Kernel | None = None
    lost: bool = False
    connected: bool = True


class EnterpriseGateway:
    """A kernel with GPUs from the notebook's opening on, culled as Enterprise Gateway does.

    It looks every `interval` seconds. Time-out and interval are those of its own Helm chart and of
    jupyter_server: an hour and five minutes.
    """

    def __init__(
        self,
        day: Day,
        *,
        cull_connected: bool,
        timeout: float = 3600.0,
        interval: float = 300.0,
    ) -> None:
        self._day = day
        self._line = _Line(day)
        self._cull_connected = cull_connected
        self._timeout = timeout
        self._interval = interval
        self._of: dict[Person, _Of] = {}
        day.at(interval, self._look)

    def open(self, person: Person) -> None:
        """The notebook starts its kernel."""
        self._of[person] = _Of()
        self._start(person)
        self._day.begin(person)

    def want(self, person: Person) -> None:
        """Run it where there is a kernel; else start one, and load what it lacks."""
        if self._of[person].kernel is None:
            self._start(person)
        else:
            self._try(person)

    def finished(self, person: Person) -> None:
        """The kernel is idle."""
        kernel = self._of[person].kernel
        if kernel is not None:
            kernel.active = self._day.now

    def close(self, person: Person) -> None:
        """The tab is closed; the kernel goes on."""
        self._of[person].connected = False

    def _start(self, person: Person) -> None:
        own = self._of[person]
        kernel = own.kernel = _Kernel()

        def begin(node: str) -> None:
            if not own.connected:  # nobody waits for it any more
                own.kernel = None
                self._day.at(self._day.now, lambda: self._line.give(node, person.session.gpus))
                return
            self._day.kernels_started += 1
            kernel.node = node
            kernel.ready = kernel.active = self._day.now + self._day.costs.start
            self._try(person)

        self._line.join(person.session.gpus, begin)

    def _try(self, person: Person) -> None:
        own = self._of[person]
        if own.kernel is None or own.kernel.node is None or person.wanted is None:
            return
        preparing = max(own.kernel.ready - self._day.now, 0.0)
        if own.lost:
            preparing += self._day.costs.reload
            own.lost = False
        self._day.execute(person, preparing)

    def _look(self) -> None:
        now = self._day.now
        for person, own in self._of.items():
            kernel = own.kernel
            if kernel is None or kernel.node is None:
                continue
            if enterprise_gateway_culls(
                idle=now - kernel.active,
                timeout=self._timeout,
                busy=person.working,
                connections=int(own.connected),
                cull_connected=self._cull_connected,
            ):
                self._end(person, own, kernel.node)
        if not self._day.is_over or any(own.kernel for own in self._of.values()):
            self._day.at(now + self._interval, self._look)

    def _end(self, person: Person, own: _Of, node: str) -> None:
        own.kernel, own.lost = None, person.done > 0
        self._day.kernels_ended_idle += 1
        gpus = person.session.gpus
        self._day.at(self._day.now + self._day.costs.stop, lambda: self._line.give(node, gpus))
