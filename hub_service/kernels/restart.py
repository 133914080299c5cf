"""Starting a kernel's process again in its pod: whether, where and how.

Asked for by the kernel's user, by way of the gateway, in `spec.restart`; or due because the
kernel's heart stopped (`liveness`). `status.restart` says what came of it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kernels import inplace, liveness
from hub_service.kernels import kernel as kernels
from hub_service.kinds import RUNNING, Object, is_deleting, is_true, spec_of, status_of
from hub_service.pods import podtemplate

# A restart that comes late would end what its user has begun since.
MAX_AGE = timedelta(seconds=10)
MAX_GRACE = 10

REQUESTED = "Requested"
HEARTBEAT_LOST = "HeartbeatLost"


class Deliver(NamedTuple):
    """Restart what runs in this container of this pod; `grace`: seconds it has to end by itself.

    times: how many of the service's own restarts in a row, with this one.
    """

    restart_id: str
    cause: str
    pod: str
    container: str
    grace: int
    times: int = 0
    message: str = ""


class Refuse(NamedTuple):
    """Don't, for this reason."""

    restart_id: str
    message: str


def decide(
    kernel: Object,
    pod: Object | None,
    lost_since: datetime | None,
    rule: liveness.Rule,
    now: datetime,
) -> Deliver | Refuse | None:
    """What to do now; None where nothing is asked or due, or it was seen to before.

    lost_since: when the kernel's heart stopped, if it did.
    """
    restart_id = asked(kernel)
    if restart_id is None:
        return _due(kernel, pod, lost_since, rule, now)
    wanted = spec_of(kernel)["restart"]
    age = now - (timestamps.parse(wanted.get("at")) or now)
    if age > MAX_AGE:
        return Refuse(
            restart_id,
            f"The restart was asked for {age.total_seconds():.0f} s ago and came too late.",
        )
    problem = _problem(kernel, pod)
    if problem or pod is None:
        return Refuse(restart_id, problem or "The kernel has no pod.")
    grace = min(max(int(wanted.get("graceSeconds") or 0), 0), MAX_GRACE)
    return Deliver(restart_id, REQUESTED, *_place(pod), grace)


def asked(kernel: Object) -> str | None:
    """The id of a restart that was asked for and not begun, if there is one."""
    wanted = (spec_of(kernel).get("restart") or {}).get("id")
    return str(wanted) if wanted and wanted != last(kernel).get("asked") else None


def last(kernel: Object) -> Mapping[str, object]:
    """status.restart, an empty one where there was no restart."""
    return status_of(kernel).get("restart") or {}


def status_of_begun(decision: Deliver | Refuse, kernel: Object, now: datetime) -> Object:
    """The status that is written before anything is done, so that it is never done twice."""
    wanted = (spec_of(kernel).get("restart") or {}).get("id")
    own = isinstance(decision, Deliver) and decision.cause == HEARTBEAT_LOST
    return {
        "restart": {
            "id": decision.restart_id,
            # A request that the service's own restart came before is still to be seen to.
            "asked": last(kernel).get("asked") if own else wanted,
            "cause": decision.cause if isinstance(decision, Deliver) else REQUESTED,
            "at": timestamps.microseconds(now),
            "count": last(kernel).get("count"),
            "delivered": None,
            "message": decision.message if isinstance(decision, Deliver) else None,
        }
    }


def status_of_outcome(decision: Deliver | Refuse, problem: str | None) -> Object:
    """The status afterwards; `problem` is a sentence where the process was not restarted."""
    outcome: Object = {"id": decision.restart_id, "delivered": problem is None}
    if isinstance(decision, Deliver) and problem is None:
        outcome |= {"count": decision.times, "message": decision.message}
    else:
        outcome["message"] = problem or ""
    return {"restart": outcome}


def outcome_of(exit_code: int, output: str) -> str | None:
    """None where the command in the container did what it is for, else a sentence."""
    if exit_code == inplace.RESTARTED:
        return None
    said = output.strip() or f"exit code {exit_code}"
    return f"The kernel's process could not be started again in its pod: {said}."


def _due(
    kernel: Object,
    pod: Object | None,
    lost_since: datetime | None,
    rule: liveness.Rule,
    now: datetime,
) -> Deliver | None:
    verdict = liveness.decide(kernel, lost_since, rule, now)
    if not isinstance(verdict, liveness.Restart) or pod is None or _problem(kernel, pod):
        return None
    return Deliver(
        verdict.restart_id,
        HEARTBEAT_LOST,
        *_place(pod),
        grace=0,
        times=verdict.count,
        message=verdict.message,
    )


def _problem(kernel: Object, pod: Object | None) -> str | None:
    """Why the kernel can't be restarted in its pod now."""
    same_pod = status_of(kernel).get("incarnation") == kernels.incarnation(kernel)
    runs = same_pod and is_true(kernel, RUNNING) and not is_deleting(kernel)
    if not runs or pod is None or is_deleting(pod):
        return "The kernel does not run."
    container = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]
    if inplace.is_supervised(container):
        return None
    said = inplace.objection(spec_of(kernel).get("template") or {})
    return said or "Its pod was made by an earlier version of the service."


def _place(pod: Object) -> tuple[str, str]:
    container = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]
    return str(pod["metadata"]["name"]), str(container["name"])
