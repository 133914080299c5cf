"""Which faults strike, in which order: the same for the same seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to the system."""

    GATEWAY_KILLED = "gateway-killed"
    GATEWAY_TERMINATED = "gateway-terminated"
    HUB_KILLED = "hub-killed"
    HUB_TERMINATED = "hub-terminated"
    SERVICE_KILLED = "service-killed"
    SERVICE_TERMINATED = "service-terminated"
    SHIM_KILLED = "shim-killed"
    KUBELET_KILLED = "kubelet-killed"
    API_SERVER_KILLED = "api-server-killed"
    WATCH_CUT = "watch-cut"
    WATCH_EXPIRED = "watch-expired"
    HALF_OPEN = "half-open"
    SLOW_ANSWERS = "slow-answers"
    FAILING_ANSWERS = "failing-answers"
    POD_DELETED = "pod-deleted"
    SECRET_DELETED = "secret-deleted"
    RESOURCE_DELETED = "resource-deleted"
    QUOTA_FULL = "quota-full"


@dataclass(frozen=True)
class Fault:
    """One of them.

    during_a_cell: a cell runs in every kernel when it strikes, and goes on for `seconds` after.
    target: the kernel that it strikes, where it strikes one, counted through all users'.
    errand: the kernel, counted likewise, that its user meanwhile shuts down and starts anew.
    """

    number: int
    kind: Kind
    during_a_cell: bool
    target: int
    errand: int
    seconds: float


def plan(
    seed: int, count: int, *, kernels: int, kinds: Sequence[Kind] = tuple(Kind)
) -> list[Fault]:
    """Faults of all kinds, each as often as any other (give or take one), in a random order.

    Of each kind the first, third, … strike during a cell: at least half of them.
    """
    rng = random.Random(seed)
    drawn: list[Kind] = []
    while len(drawn) < count:
        drawn += rng.sample(list(kinds), len(kinds))
    seen = dict.fromkeys(kinds, 0)
    faults = []
    for number, kind in enumerate(drawn[:count], start=1):
        seen[kind] += 1
        faults.append(
            Fault(
                number=number,
                kind=kind,
                during_a_cell=seen[kind] % 2 == 1,
                target=rng.randrange(kernels),
                errand=rng.randrange(kernels),
                seconds=round(rng.uniform(1.0, 3.0), 2),
            )
        )
    return faults
