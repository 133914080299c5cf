"""Kubernetes' quantities (500m, 2Gi) as numbers, and the resources that a pod asks for. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from fnmatch import fnmatchcase

from hub_service.kinds import Object
from hub_service.pods import podtemplate

_QUANTITY = re.compile(r"([+-]?[0-9.]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_BINARY = {f"{letter}i": Decimal(1024) ** n for n, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: Decimal(1000) ** n for n, letter in enumerate("kMGTPE", 1)} | {
    letter: Decimal(1000) ** -n for n, letter in enumerate("mun", 1)
}


def parse(text: object) -> Decimal:
    """The number that a quantity stands for. ValueError for anything else."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix = found.groups()
    if suffix and suffix[0] in "eE" and len(suffix) > 1 and suffix != "Ei":
        return Decimal(number + suffix)
    return Decimal(number) * (_BINARY | _DECIMAL).get(suffix or "", Decimal(1))


def requests(pod: Object) -> dict[str, Decimal]:
    """What a pod asks of its node, by resource name, as the scheduler counts.

    The containers together, or the greediest init container if that is more; an init container
    that keeps running counts with the containers. Amounts that are no quantity count as nothing.
    """
    spec: Object = pod.get("spec") or {}
    total: dict[str, Decimal] = {}
    before: dict[str, Decimal] = {}
    for container in podtemplate.containers(pod):
        _add(total, _requests_of(container))
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            _add(total, _requests_of(container))
        else:
            for name, amount in _requests_of(container).items():
                before[name] = max(before.get(name, Decimal(0)), amount)
    for name, amount in before.items():
        total[name] = max(total.get(name, Decimal(0)), amount)
    _add(total, _numbers(spec.get("overhead") or {}))
    return {name: amount for name, amount in total.items() if amount > 0}


def words(resource: str, amount: Decimal) -> str:
    """An amount of a resource for people: `2 GPUs (nvidia.com/gpu)`, `64Gi of memory`."""
    if resource in ("memory", "ephemeral-storage"):
        what = "memory" if resource == "memory" else "disk space"
        return f"{_bytes(amount)} of {what}"
    number = f"{amount.normalize():f}"
    if resource == "cpu":
        return f"{number} CPU" if amount == 1 else f"{number} CPUs"
    if is_gpu(resource):
        return f"{number} GPU ({resource})" if amount == 1 else f"{number} GPUs ({resource})"
    return f"{number} {resource}"


def is_gpu(resource: str) -> bool:
    """Whether a resource name counts as a GPU."""
    return any(fnmatchcase(resource, pattern) for pattern in podtemplate.GPU_RESOURCES)


def _bytes(amount: Decimal) -> str:
    for suffix, size in reversed(_BINARY.items()):
        if amount >= size:
            return f"{(amount / size).quantize(Decimal('0.1')).normalize():f}{suffix}"
    return f"{amount:f} bytes"


def _requests_of(container: Object) -> dict[str, Decimal]:
    resources: Object = container.get("resources") or {}
    # Where only a limit is given, the API server takes it as the request.
    return _numbers({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _numbers(amounts: Object) -> dict[str, Decimal]:
    numbers = {}
    for name, amount in amounts.items():
        try:
            numbers[name] = parse(amount)
        except (ValueError, ArithmeticError):
            continue
    return numbers


def _add(total: dict[str, Decimal], more: dict[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount
