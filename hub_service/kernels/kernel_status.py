"""The status of a JupyterKernel, as it follows from its admission, its pod and its end. Pure.

Statuses returned here hold the fields that the service owns; a value of None means that the field
goes away.
"""

from __future__ import annotations

from datetime import datetime

from hub_service import conditions, homes, timestamps
from hub_service.conditions import Condition
from hub_service.kernels import podstate
from hub_service.kernels.kernel import has_answered, incarnation, is_finished
from hub_service.kinds import (
    ADMITTED,
    ANNOTATION_DROPPED,
    CULLED,
    FAILED,
    FINISHED_PHASES,
    HOME_MOUNTED,
    RUNNING,
    SUCCEEDED,
    TEMPLATE_ACCEPTED,
    VARIABLES_ACCEPTED,
    Object,
    Phase,
    Reason,
    annotations_of,
    condition,
    name_of,
    spec_of,
    status_of,
)
from hub_service.pods import podtemplate
from hub_service.pods.podsecurity import Objection
from hub_service.starts.faults import Fault
from hub_service.starts.judge import Verdict
from hub_service.warm import pods as warm

_NO_LONGER_RUNNING = Condition(RUNNING, False, Reason.ENDED, "The kernel has ended.")


def of_admission(
    kernel: Object, *, admitted: bool, reason: str, message: str, now: datetime
) -> Object:
    """The status with which the wanted incarnation begins, or is refused."""
    wanted = [
        Condition(ADMITTED, admitted, reason, message),
        _template_condition(spec_of(kernel).get("template") or {}),
        *_variables_condition(kernel),
    ]
    status = _beginning(kernel, Phase.PENDING if admitted else Phase.REFUSED, wanted, now)
    return status | {"completionTime": None if admitted else timestamps.seconds(now)}


def of_wait(kernel: Object, verdict: Verdict, now: datetime) -> Object:
    """The status of the wanted incarnation while its admission waits."""
    waits = Condition(RUNNING, False, verdict.state.reason, verdict.state.message)
    status = _beginning(kernel, Phase.PENDING, [waits], now)
    return status | {"start": _start(kernel, verdict)}


def _beginning(kernel: Object, phase: str, wanted: list[Condition], now: datetime) -> Object:
    """A status in which nothing is left of an earlier incarnation."""
    return {
        "phase": phase,
        "conditions": conditions.merged(_conditions(kernel), wanted, now),
        "incarnation": incarnation(kernel),
        "gpus": podtemplate.gpus(spec_of(kernel).get("template") or {}),
        "podName": None,
        "podIP": None,
        "nodeName": None,
        "exitCode": None,
        "startTime": None,
        "start": None,
        "completionTime": None,
    }


def of_refused_template(kernel: Object, objection: Objection, now: datetime) -> Object:
    """The status of a kernel that is refused for what its template asks for."""
    message = str(objection)
    wanted = [
        Condition(ADMITTED, False, Reason.TEMPLATE_REFUSED, message),
        Condition(TEMPLATE_ACCEPTED, False, objection.reason, message),
    ]
    status = of_admission(
        kernel, admitted=False, reason=Reason.TEMPLATE_REFUSED, message=message, now=now
    )
    return status | {"conditions": conditions.merged(_conditions(kernel), wanted, now)}


def _template_condition(template: Object) -> Condition:
    corrected = podtemplate.corrections(template)
    if corrected:
        return Condition(TEMPLATE_ACCEPTED, True, Reason.CORRECTED, "; ".join(corrected) + ".")
    return Condition(TEMPLATE_ACCEPTED, True, Reason.ACCEPTED, "The template is used as it is.")


def _variables_condition(kernel: Object) -> list[Condition]:
    """What the client sent in vain, where it sent such things."""
    dropped = annotations_of(kernel).get(ANNOTATION_DROPPED)
    if not dropped:
        return []
    message = (
        f"Not passed on, as the kernel's JupyterKernelSpec doesn't declare them: "
        f"{dropped.replace(',', ', ')}."
    )
    return [Condition(VARIABLES_ACCEPTED, False, Reason.DROPPED, message)]


def of_pod(
    kernel: Object, pod: Object | None, now: datetime, verdict: Verdict | None = None
) -> Object:
    """The status of an admitted kernel whose pod exists or has existed.

    `pod` is None where it is gone: then the kernel has failed, unless it was over before.
    `verdict` is of a start that is not over; without one the pod's state is all that is known.
    """
    if is_finished(kernel):
        return {}
    state = verdict.state if verdict else podstate.observe(pod, answered=has_answered(kernel))
    over = state.phase in FINISHED_PHASES
    result: Object = {
        "phase": state.phase,
        "podName": name_of(pod) if pod else status_of(kernel).get("podName"),
        "start": _start(kernel, verdict),
    }
    wanted = _settled(kernel, pod)
    if over:
        kind = SUCCEEDED if state.phase == Phase.SUCCEEDED else FAILED
        wanted += [_NO_LONGER_RUNNING, Condition(kind, True, state.reason, state.message)]
        result["completionTime"] = state.finished or timestamps.seconds(now)
        result["exitCode"] = state.exit_code
    else:
        running = state.phase == Phase.RUNNING
        wanted.append(Condition(RUNNING, running, state.reason, state.message))
    if pod is not None:
        result["podIP"] = (pod.get("status") or {}).get("podIP")
        result["nodeName"] = (pod.get("spec") or {}).get("nodeName")
        result["startTime"] = warm.started(pod, state.started)
    result["conditions"] = conditions.merged(_conditions(kernel), wanted, now)
    return result


def without_pod(kernel: Object, verdict: Verdict, now: datetime) -> Object:
    """The status of an admitted kernel whose pod could not be made, for good or until now."""
    state = verdict.state
    if state.phase == Phase.FAILED:
        return of_fault(kernel, Fault(state.reason, state.message), now)
    wanted = [*_of_admission(kernel), Condition(RUNNING, False, state.reason, state.message)]
    return {
        "phase": state.phase,
        "conditions": conditions.merged(_conditions(kernel), wanted, now),
        "start": _start(kernel, verdict),
    }


def of_fault(kernel: Object, fault: Fault, now: datetime) -> Object:
    """The status of an admitted kernel whose pod is not made, as it could not run."""
    end = Condition(FAILED, True, fault.reason, fault.message)
    return _ended(kernel, Phase.FAILED, end, now) | {"start": None}


def making_since(kernel: Object, now: datetime) -> datetime:
    """Since when the wanted incarnation's pod is to be made."""
    began = timestamps.parse((status_of(kernel).get("start") or {}).get("since"))
    if began is None and not incarnation(kernel):
        admitted = condition(kernel, ADMITTED) or {}
        began = timestamps.parse(admitted.get("lastTransitionTime"))
    return began or now


def waiting_since(kernel: Object, now: datetime) -> datetime:
    """Since when the wanted incarnation waits for its admission."""
    if status_of(kernel).get("incarnation") == incarnation(kernel):
        began = timestamps.parse((status_of(kernel).get("start") or {}).get("since"))
        if began is not None:
            return began
    if incarnation(kernel):
        return now
    return timestamps.parse(kernel["metadata"].get("creationTimestamp")) or now


def _start(kernel: Object, verdict: Verdict | None) -> Object | None:
    """status.start: how far a start has come; None where there is none in progress."""
    if verdict is None or verdict.state.phase == Phase.FAILED:
        return None
    start: Object = {"since": timestamps.seconds(verdict.since)}
    if verdict.deadline:
        start["deadline"] = timestamps.seconds(verdict.deadline)
    if verdict.before is not None:
        start["waitingBehind"] = verdict.before
    present: Object = status_of(kernel).get("start") or {}
    return {**{field: None for field in present if field not in start}, **start}


def of_lost_heart(kernel: Object, message: str, now: datetime) -> Object:
    """The status of a kernel whose process does not answer, restarts notwithstanding."""
    return _ended(
        kernel, Phase.FAILED, Condition(FAILED, True, Reason.HEARTBEAT_LOST, message), now
    )


def of_cull(kernel: Object, reason: str, message: str, now: datetime) -> Object:
    """The status of a kernel that is being ended while it is idle."""
    return _ended(kernel, Phase.CULLED, Condition(CULLED, True, reason, message), now)


def _ended(kernel: Object, phase: str, end: Condition, now: datetime) -> Object:
    wanted = [*_of_admission(kernel), _NO_LONGER_RUNNING, end]
    return {
        "phase": phase,
        "conditions": conditions.merged(_conditions(kernel), wanted, now),
        "completionTime": timestamps.seconds(now),
    }


def _conditions(kernel: Object) -> list[Object]:
    return list(status_of(kernel).get("conditions") or [])


def _settled(kernel: Object, pod: Object | None) -> list[Condition]:
    """The conditions that were settled by admission, and by how the pod was made."""
    report = homes.report_of(pod) if pod else None
    if report is None:
        return _of_admission(kernel)
    others = [entry for entry in _of_admission(kernel) if entry.type != HOME_MOUNTED]
    return [*others, Condition(HOME_MOUNTED, *report)]


def _of_admission(kernel: Object) -> list[Condition]:
    """The conditions that were settled before the pod ran, as they are."""
    return [
        Condition(
            entry["type"],
            entry["status"] == "True",
            entry.get("reason", ""),
            entry.get("message", ""),
        )
        for entry in _conditions(kernel)
        if entry["type"] in (ADMITTED, TEMPLATE_ACCEPTED, VARIABLES_ACCEPTED, HOME_MOUNTED)
    ]
