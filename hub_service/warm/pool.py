"""How many warm pods of a spec there are to be: which are made, and which go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kernels import podstate
from hub_service.kinds import (
    ANNOTATION_WARM_REVISION,
    Object,
    annotations_of,
    is_deleting,
    name_of,
    spec_of,
    status_of,
)
from hub_service.pods import podtemplate
from hub_service.warm import pods

# One that failed stays for so long, to be looked at; then the next one is tried.
RETRY = timedelta(minutes=5)


class Plan(NamedTuple):
    """What is to be done now, and what is said in the spec's status.

    again: when to look again, though nothing changes.
    """

    create: int
    delete: list[Object]
    ready: int
    message: str
    again: datetime | None = None


def plan(
    waiting: Sequence[Object],
    wanted: Object | None,
    number: int,
    now: datetime,
    *,
    others_wait: bool = False,
    problem: str | None = None,
) -> Plan:
    """Bring a spec's pods that wait to that `number`.

    wanted: such a pod (`pods.of_spec`); None where there can be none. others_wait: somebody's pod
    finds no node for want of something scarce. Then pods that wait for a node make way, and those
    with GPUs too. problem: why there are none, where they are asked for.
    """
    if wanted is None:
        return Plan(0, _there(waiting), 0, problem or "")
    makes_way = others_wait and podtemplate.gpus(wanted) > 0
    revision = annotations_of(wanted)[ANNOTATION_WARM_REVISION]
    delete: list[Object] = []
    failed: list[Object] = []
    here: list[Object] = []
    for pod in _there(waiting):
        if annotations_of(pod).get(ANNOTATION_WARM_REVISION) != revision:
            delete.append(pod)
        elif status_of(pod).get("phase") in ("Failed", "Succeeded"):
            (delete if _ended(pod) + RETRY <= now else failed).append(pod)
        elif makes_way or (others_wait and not spec_of(pod).get("nodeName")):
            delete.append(pod)
        else:
            here.append(pod)
    # Those with the most done for them stay.
    here.sort(key=lambda pod: (not pods.is_ready(pod), pod["metadata"]["creationTimestamp"]))
    room = max(number - len(failed), 0)
    delete += here[room:]
    here = here[:room]
    ready = sum(map(pods.is_ready, here))
    create = 0 if others_wait else room - len(here)
    again = min((_ended(pod) + RETRY for pod in failed), default=None)
    return Plan(create, delete, ready, _message(ready, number, failed, others_wait), again)


def _message(ready: int, number: int, failed: list[Object], others_wait: bool) -> str:
    said = f"{ready} of {number} ready."
    if failed:
        state = podstate.observe(failed[0], answered=False)
        minutes = int(RETRY.total_seconds() // 60)
        said += f" {name_of(failed[0])} failed: {state.message} Tried again after {minutes} min."
    elif others_wait and ready < number:
        said += " No more are made while kernels wait for room in the cluster."
    return said


def _there(waiting: Sequence[Object]) -> list[Object]:
    return [pod for pod in waiting if not is_deleting(pod)]


def _ended(pod: Object) -> datetime:
    """When a pod that failed did."""
    for one in status_of(pod).get("containerStatuses") or []:
        ended = (one.get("state") or {}).get("terminated") or {}
        if moment := timestamps.parse(ended.get("finishedAt")):
            return moment
    created = timestamps.parse(pod["metadata"]["creationTimestamp"])
    assert created is not None  # noqa: S101 - every object has one
    return created
