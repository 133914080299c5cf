"""A run: one fault after the other, and after each a look at everything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from hub_service.kinds import JUPYTER_KERNELS, PODS, SECRETS
from hub_service.kube import ApiError, Cluster
from tests.faults import model
from tests.faults.look import look, settled
from tests.faults.model import Kernel, Outcome, Problem, Tally
from tests.faults.plan import Fault, Kind
from tests.faults.strikes import Strikes
from tests.faults.users import SLOTS, User

# Seconds within which everything is as it ought to be, graces of a few seconds included.
SETTLES_WITHIN = 90.0


class Rounds:
    """The users, the kernels that they ought to have, and what was found so far."""

    def __init__(
        self,
        users: list[User],
        strikes: Strikes,
        cluster: Cluster,
        namespace: str,
        say: Callable[[str], None],
    ) -> None:
        self.tally = Tally()
        self._users = {user.name: user for user in users}
        self._names = [user.name for user in users]
        self._strikes = strikes
        self._cluster = cluster
        self._namespace = namespace
        self._say = say
        self._kernels: list[Kernel] = []

    async def round(self, fault: Fault) -> list[Problem]:
        """Let one fault strike, and check; what was found is counted and made good."""
        started = time.monotonic()
        self._kernels.sort(key=lambda kernel: (kernel.owner, kernel.slot))
        leaving = self._kernels[fault.errand]
        staying = [k for k in self._kernels if k is not leaving]
        others = [k for k in staying if k.owner != leaving.owner]
        target = others[fault.target % len(others)]
        problems: list[Problem] = []
        try:
            problems += await self._strike(fault, staying, target, leaving)
            problems += await self._check()
        except (TimeoutError, ConnectionError, ApiError, ProcessLookupError) as error:
            problems.append(Problem("stuck", f"{type(error).__name__}: {error}"))
        self.tally.struck(fault)
        self.tally.add(problems)
        if problems:
            await self.start_anew()
        else:
            await self._replace_the_dead()
        during = "during a cell" if fault.during_a_cell else "between cells"
        self._say(
            f"{fault.number:4} {fault.kind:<19} {during:<14} {len(self._kernels)} kernels, "
            f"{time.monotonic() - started:5.1f} s"
            + "".join(f"\n       {problem.count}: {problem.text}" for problem in problems)
        )
        return problems

    async def _strike(
        self, fault: Fault, staying: list[Kernel], target: Kernel, leaving: Kernel
    ) -> list[Problem]:
        """Cells, the fault, the errand; what was seen of the cells."""
        cells: dict[str, str] = {}
        if fault.during_a_cell:
            begun = [self._users[k.owner].begin(k, fault.number, fault.seconds) for k in staying]
            sent = await asyncio.gather(*begun)
            cells = {k.name: message for k, message in zip(staying, sent, strict=True)}
            is_target = [kernel is target for kernel in staying]
            staying = [kernel.after(fault.number) for kernel in staying]
            target = staying[is_target.index(True)]
        async with self._strikes.strike(fault, target):
            problems, new, _ = await asyncio.gather(
                self._outcomes(fault, staying, target, cells),
                self._errand(leaving),
                self._quota(fault, target),
            )
            problems += _
        self._kernels = [*model.after(fault, staying, target), new]
        for kernel in staying:
            if not model.survives(fault, kernel, target):
                await self._users[kernel.owner].shut_down(kernel)
        return problems

    async def _outcomes(
        self, fault: Fault, kernels: list[Kernel], target: Kernel, cells: dict[str, str]
    ) -> list[Problem]:
        async def judge(kernel: Kernel) -> list[Problem]:
            seen = await self._users[kernel.owner].outcome(kernel, cells[kernel.name])
            if seen is Outcome.CLOSED:
                await self._users[kernel.owner].forget(kernel)
            return model.judge_outcome(fault, kernel, target, seen)

        judged = await asyncio.gather(*(judge(k) for k in kernels if k.name in cells))
        return [problem for problems in judged for problem in problems]

    async def _errand(self, leaving: Kernel) -> Kernel:
        user = self._users[leaving.owner]
        await user.shut_down(leaving)
        return await user.start(leaving.slot)

    async def _quota(self, fault: Fault, target: Kernel) -> list[Problem]:
        if fault.kind is not Kind.QUOTA_FULL:
            return []
        said = await self._users[target.owner].refused(target.slot)
        if f"may have {len(SLOTS)} kernels" in said:
            return []
        return [Problem("leaked", f"a kernel over the quota was not refused: {said!r}")]

    async def _check(self) -> list[Problem]:
        """Ask every kernel that ought to live, and look at what the cluster holds."""

        async def ask(kernel: Kernel) -> list[Problem]:
            said, answered = await self._users[kernel.owner].ask(kernel)
            self.tally.kernels_checked += 1
            problems = model.judge_answer(kernel, said)
            if not answered:
                text = f"a question to {kernel.owner}'s {kernel.name} was never answered"
                problems.append(Problem("stuck", text))
            return problems

        *answers, cluster = await asyncio.gather(
            *(ask(kernel) for kernel in self._kernels),
            settled(self._cluster, self._namespace, self._kernels, SETTLES_WITHIN),
        )
        return [problem for problems in (*answers, cluster) for problem in problems]

    async def _replace_the_dead(self) -> None:
        """Users start anew what they lost."""
        there = {(kernel.owner, kernel.slot) for kernel in self._kernels}
        starts = [
            self._users[name].start(slot)
            for name in self._names
            for slot in range(len(SLOTS))
            if (name, slot) not in there
        ]
        self._kernels += await asyncio.gather(*starts)

    async def start_anew(self) -> None:
        """Remove what there is of any kernel; then every user starts one of each sort.

        Also after a problem, so that it is counted once.
        """
        for kernel in self._kernels:
            await self._users[kernel.owner].forget(kernel)
        async with asyncio.timeout(2 * SETTLES_WITHIN):
            while True:
                with contextlib.suppress(ApiError):
                    seen = await look(self._cluster, self._namespace)
                    if not (seen.resources or seen.pods or seen.secrets):
                        break
                    await self._remove(seen)
                await asyncio.sleep(1)
        self._kernels = []
        await self._replace_the_dead()

    async def _remove(self, seen: model.Seen) -> None:
        found = ((JUPYTER_KERNELS, seen.resources), (PODS, seen.pods), (SECRETS, seen.secrets))
        for resource, names in found:
            for name in names:
                with contextlib.suppress(ApiError):
                    await self._cluster.delete(resource, self._namespace, name)
