"""What ought to live, and what its variables ought to be. Pure: nobody is asked.

The suite's own idea of the system's promises, against which the cluster and the answers of the
kernels are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tests.faults.plan import Fault, Kind

_MODULUS = 1_000_003


@dataclass(frozen=True)
class Kernel:
    """A kernel that ought to live.

    identity: a value that it was given when it started; another interpreter doesn't have it.
    cells: the numbers of the cells that it ran, in order.
    recorded: whether its Secret is there, by which another gateway could find it.
    """

    owner: str
    slot: int
    gpus: int
    name: str
    identity: str
    cells: tuple[int, ...] = ()
    recorded: bool = True

    @property
    def total(self) -> int:
        """A value of its that depends on which cells ran, how often, and in which order."""
        total = 0
        for cell in self.cells:
            total = (total * 31 + cell) % _MODULUS
        return total

    def after(self, cell: int) -> Kernel:
        """The same kernel once it has run one more cell."""
        return replace(self, cells=(*self.cells, cell))


def first_cell(kernel: Kernel) -> str:
    """What a new kernel runs first."""
    return f"identity, cells, total = {kernel.identity!r}, [], 0"


def cell(number: int, seconds: float) -> str:
    """A cell that says when it begins, takes its time, and prints a result that is known."""
    return (
        f"import time\nprint('begin {number}', flush=True)\ntime.sleep({seconds})\n"
        f"cells.append({number})\ntotal = (total * 31 + {number}) % {_MODULUS}\n"
        f"print('total', total, flush=True)"
    )


QUESTION = "print('state', identity, total, *cells)"


def answer(kernel: Kernel) -> str:
    """What a kernel ought to say to QUESTION."""
    return " ".join(map(str, ("state", kernel.identity, kernel.total, *kernel.cells)))


class Outcome(StrEnum):
    """What the user saw of a cell."""

    RESULT = "its result"
    TOLD = "that its output was lost"
    DEATH = "that the kernel died"
    BARE = "a reply without its output"
    CLOSED = "that the connection was closed"
    SILENCE = "nothing"


_STRIKES_ONE = frozenset({Kind.SHIM_KILLED, Kind.POD_DELETED, Kind.RESOURCE_DELETED})
_STRIKES_GATEWAY = frozenset({Kind.GATEWAY_KILLED, Kind.GATEWAY_TERMINATED})


def survives(fault: Fault, kernel: Kernel, target: Kernel) -> bool:
    """Whether a kernel lives on after the fault.

    One ends whose container, pod or resource was taken. One whose Secret is gone lives on with the
    gateway that knows it, and not with another.
    """
    if fault.kind in _STRIKES_ONE:
        return kernel != target
    if fault.kind in _STRIKES_GATEWAY:
        return kernel.recorded
    return True


def outcomes(fault: Fault, kernel: Kernel, target: Kernel) -> frozenset[Outcome]:
    """What the user may see of a cell that ran in the kernel when the fault struck.

    A gateway that dies takes with it what is printed until the next one listens. One that is
    stopped may go on until the cell has ended, and a kernel ends when the next one begins.
    """
    ends = not survives(fault, kernel, target)
    if fault.kind in _STRIKES_GATEWAY:
        lost = {Outcome.TOLD, Outcome.DEATH} if ends else {Outcome.TOLD}
        return frozenset({Outcome.RESULT, *lost})
    if ends:
        return frozenset({Outcome.DEATH, Outcome.TOLD})
    return frozenset({Outcome.RESULT})


def after(fault: Fault, kernels: Sequence[Kernel], target: Kernel) -> list[Kernel]:
    """The kernels that ought to live once the fault is over."""
    left = [kernel for kernel in kernels if survives(fault, kernel, target)]
    if fault.kind is Kind.SECRET_DELETED:
        left = [replace(k, recorded=False) if k == target else k for k in left]
    return left


@dataclass(frozen=True)
class Seen:
    """What the cluster holds at one moment.

    resources, pods, secrets: by name of the kernel that they belong to; of a pod also whether it
    is over or going. waiting: kernels whose resource says anything else than that it runs.
    deleting: names of objects whose deletion was asked for and which are still there.
    """

    resources: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    deleting: tuple[str, ...] = ()
    gpus: int = 0


@dataclass(frozen=True)
class Problem:
    """Something that isn't as it ought to be; `count`: one of the figures of `Tally`."""

    count: str
    text: str


def compare(kernels: Iterable[Kernel], seen: Seen) -> list[Problem]:
    """What differs between the kernels that ought to live and what the cluster holds."""
    ours = {kernel.name: kernel for kernel in kernels}
    problems = []
    for what, names in (("resource", seen.resources), ("pod", seen.pods)):
        for name in sorted(ours.keys() - set(names)):
            problems.append(Problem("lost", f"{name} has no {what}"))
    recorded = {name for name, kernel in ours.items() if kernel.recorded}
    for name in sorted(recorded - set(seen.secrets)):
        problems.append(Problem("lost", f"{name} has no Secret"))
    found = (("resource", seen.resources), ("pod", seen.pods), ("Secret", seen.secrets))
    for what, names in found:
        for name in sorted(set(names) - ours.keys()):
            problems.append(Problem("leaked", f"{what} of {name}, which ought not to be"))
        for name in sorted({name for name in names if names.count(name) > 1}):
            problems.append(Problem("double", f"{names.count(name)} {what}s of {name}"))
    for name in sorted(seen.waiting):
        problems.append(Problem("stuck", f"{name} does not run, by its resource"))
    for name in sorted(seen.deleting):
        problems.append(Problem("stuck", f"{name} is being deleted"))
    gpus = sum(kernel.gpus for kernel in ours.values())
    if seen.gpus != gpus:
        count = "leaked" if seen.gpus > gpus else "lost"
        problems.append(Problem(count, f"{seen.gpus} GPUs are allocated, not {gpus}"))
    return problems


def judge_answer(kernel: Kernel, said: str) -> list[Problem]:
    """What a kernel's answer to QUESTION says of it; an empty answer is none."""
    if said == answer(kernel):
        return []
    words = said.split()
    count = "lost"
    if words[:2] == ["state", kernel.identity]:
        ran = words[3:]
        count = "double" if len(ran) > len(set(ran)) else "lost"
    text = f"{kernel.owner}'s {kernel.name} said {said!r} in place of {answer(kernel)!r}"
    return [Problem(count, text)]


def judge_outcome(fault: Fault, kernel: Kernel, target: Kernel, seen: Outcome) -> list[Problem]:
    """Whether the user saw what ought to have come of the cell."""
    allowed = outcomes(fault, kernel, target)
    if seen in allowed:
        return []
    count = "stuck" if seen is Outcome.SILENCE else "lost"
    wanted = " or ".join(sorted(allowed))
    return [Problem(count, f"{kernel.owner}'s cell in {kernel.name} showed {seen}, not {wanted}")]


@dataclass
class Tally:
    """The figures of a run; `lost`, `leaked`, `double`, `stuck`: what was found wrong."""

    faults: int = 0
    lost: int = 0
    leaked: int = 0
    double: int = 0
    stuck: int = 0
    kernels_checked: int = 0
    seconds: float = 0.0
    during_a_cell: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def struck(self, fault: Fault) -> None:
        """Count a fault."""
        self.faults += 1
        self.during_a_cell += fault.during_a_cell
        self.kinds[fault.kind] = self.kinds.get(fault.kind, 0) + 1

    def add(self, problems: Iterable[Problem]) -> None:
        """Count what was found."""
        for problem in problems:
            setattr(self, problem.count, getattr(self, problem.count) + 1)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.leaked or self.double or self.stuck)
