"""What people are told of quotas: in JupyterLab, where they start a kernel that is one too many.

Pure. Says which limit it is and who set it, which of one's kernels take it up and since when they
idle, how to stop one, and whom to ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hub_service import quantities, timestamps
from hub_service.kinds import (
    ANNOTATION_SESSIONS,
    IDLE,
    Object,
    Phase,
    annotations_of,
    name_of,
    spec_of,
    status_of,
)
from hub_service.quotas.limits import KERNELS, Limit

_WAY_OUT = "Shut one down in JupyterLab (Running Terminals and Kernels) and start again."
_WAY_ON = (
    "It starts as soon as there is room; to make some, shut one down in JupyterLab (Running "
    "Terminals and Kernels)."
)
# Longer lists help nobody, and conditions have room for no novels.
_MOST_LISTED = 10


class Shortage(NamedTuple):
    """A limit that stands in the way of a kernel.

    limit, asked, taken: amounts of the resource. source: who set the limit, in words. holders: the
    owner's kernels that take it up, oldest first.
    """

    resource: str
    limit: Decimal
    source: str
    asked: Decimal
    holders: list[Object]
    taken: Decimal


def place(owner: str, others: int, limits: Mapping[str, Limit]) -> str:
    """Of a kernel that was admitted beside so many others."""
    limit = limits.get(KERNELS)
    of = f" of {limit.amount:f}" if limit is not None and limit.amount is not None else ""
    return f"Kernel {others + 1}{of} for {owner}."


def refusal(owner: str, shortages: Sequence[Shortage], contact: str, now: datetime) -> str:
    """Of a kernel that is over limits: at least one."""
    said = " ".join(_shortage(owner, shortage, now) for shortage in shortages)
    if all(shortage.asked <= shortage.limit for shortage in shortages):
        way_out = f"{_WAY_OUT} For more, ask {contact}."
    elif all(shortage.limit for shortage in shortages):
        way_out = f"Choose a smaller kernel, or ask {contact}."
    else:
        way_out = f"Ask {contact}."
    return f"{_what(shortages[0].resource)} quota reached: {said} {way_out}"


def waits(owner: str, shortages: Sequence[Shortage], before: int, now: datetime) -> str:
    """Of a kernel that waits for another one of its owner's to end, and of those before it."""
    said = " ".join(_shortage(owner, shortage, now) for shortage in shortages)
    line = (
        "" if before == 0
        else f" 1 kernel of {owner} waits before it." if before == 1
        else f" {before} kernels of {owner} wait before it."
    )  # fmt: skip
    return f"Waiting for another of your kernels to end. {said} {_WAY_ON}{line}"


def describe(kernel: Object, now: datetime) -> str:
    """A kernel's name, spec and notebook, and what it is doing."""
    details = [spec_of(kernel).get("kernelSpecName"), *notebooks(kernel), _doing(kernel, now)]
    return f"{name_of(kernel)} ({', '.join(detail for detail in details if detail)})"


def notebooks(kernel: Object) -> list[str]:
    """The paths of the notebooks that a kernel runs for."""
    try:
        sessions = json.loads(annotations_of(kernel).get(ANNOTATION_SESSIONS) or "[]")
        return [str(session["path"]) for session in sessions if session.get("path")]
    except (ValueError, TypeError, AttributeError, KeyError):
        return []  # the annotation is the user's word


def amount_in_words(resource: str, amount: Decimal) -> str:
    """`2 kernels`, `1 GPU (nvidia.com/gpu)`, `32Gi of memory`."""
    if resource != KERNELS:
        return quantities.words(resource, amount)
    return "1 kernel" if amount == 1 else f"{amount:f} kernels"


def _shortage(owner: str, shortage: Shortage, now: datetime) -> str:
    resource, limit = shortage.resource, shortage.limit
    source = f"({shortage.source})"
    if limit == 0:
        nothing = "kernels" if resource == KERNELS else resource
        return f"{owner} may have no {nothing} {source}."
    may = f"{owner} may have {amount_in_words(resource, limit)} {source}"
    if shortage.asked > limit:
        return f"{may}, and this kernel alone asks for {_number(resource, shortage.asked)}."
    if not shortage.holders:
        return f"{may}, which are kept for kernels that wait already."
    if resource == KERNELS:
        count = len(shortage.holders)
        there = "this one is" if count == 1 else "these are"
        if count > limit:
            there = f"these {count} are"
        return f"{may}, and {there} there: {_listed(shortage.holders, now)}."
    asked, taken = (_number(resource, amount) for amount in (shortage.asked, shortage.taken))
    by = _listed(shortage.holders, now)
    return f"{may}, this one asks for {asked}, and {taken} of it is taken by: {by}."


def _listed(kernels: Sequence[Object], now: datetime) -> str:
    shown = ", ".join(describe(kernel, now) for kernel in kernels[:_MOST_LISTED])
    more = len(kernels) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _number(resource: str, amount: Decimal) -> str:
    words = quantities.words(resource, amount)
    return words.split(" ")[0]


def _what(resource: str) -> str:
    if resource == KERNELS:
        return "Kernel"
    if quantities.is_gpu(resource):
        return "GPU"
    return {"cpu": "CPU", "memory": "Memory"}.get(resource, resource)


def _doing(kernel: Object, now: datetime) -> str:
    status = status_of(kernel)
    if status.get("phase") != Phase.RUNNING:
        return "starting"
    activity: Object = status.get("activity") or {}
    state = activity.get("executionState") or "running"
    since = timestamps.parse(activity.get("idleSince"))
    if state != IDLE or since is None:
        return str(state)
    return f"idle {_duration((now - since).total_seconds())}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(int(seconds), 0)} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min"
    return f"{int(seconds // 3600)} h"
