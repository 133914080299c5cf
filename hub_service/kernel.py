"""JupyterKernel and its pod: the pod that ought to be, and the status that follows from the pod.

Pure: the caller brings objects and the time, and carries out what comes back. Statuses returned
here hold the fields that the service owns; a value of None means that the field goes away.
"""

from __future__ import annotations

from datetime import datetime

from hub_service import conditions, homes, inplace, podsecurity, podstate, podtemplate, timestamps
from hub_service.conditions import Condition
from hub_service.kinds import (
    ADMITTED,
    ANNOTATION_DROPPED,
    APP_NAME,
    BUSY,
    COMPONENT_KERNEL,
    CONNECTION_DIRECTORY,
    CULLED,
    FAILED,
    FINISHED_PHASES,
    HOME_MOUNTED,
    IDLE,
    JUPYTER_KERNELS,
    LABEL_COMPONENT,
    LABEL_GATEWAY,
    LABEL_KERNEL_ID,
    LABEL_KERNEL_SPEC,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_OWNER,
    LABEL_SERVER,
    MANAGER,
    RUNNING,
    SUCCEEDED,
    TEMPLATE_ACCEPTED,
    VARIABLES_ACCEPTED,
    Object,
    Phase,
    Reason,
    annotations_of,
    condition,
    is_true,
    name_of,
    namespace_of,
    owner_reference,
    spec_of,
    status_of,
)
from hub_service.names import pod_name, safe_label
from hub_service.podsecurity import Objection, Policy
from hub_service.starts.faults import Fault
from hub_service.starts.judge import Verdict

DEFAULT_GRACE_SECONDS = 2
_CONNECTION_VOLUME = "elastic-connection"
_NO_LONGER_RUNNING = Condition(RUNNING, False, Reason.ENDED, "The kernel has ended.")


def incarnation(kernel: Object) -> int:
    """The incarnation that is wanted."""
    return int(spec_of(kernel).get("incarnation") or 0)


def is_decided(kernel: Object) -> bool:
    """Whether admission of the wanted incarnation was decided, one way or the other."""
    decided = condition(kernel, ADMITTED) is not None
    return decided and status_of(kernel).get("incarnation") == incarnation(kernel)


def is_finished(kernel: Object) -> bool:
    """Whether the incarnation that the status speaks of is over."""
    return status_of(kernel).get("phase") in FINISHED_PHASES


def is_admitted(kernel: Object) -> bool:
    """Whether the kernel may have a pod, or has one: it counts against its owner's quota.

    An admitted kernel stays so when a new incarnation is asked for.
    """
    return is_true(kernel, ADMITTED) and not is_finished(kernel)


def pod_of_incarnation(kernel: Object) -> str:
    """The name of the wanted incarnation's pod."""
    return pod_name(name_of(kernel), incarnation(kernel))


def has_answered(kernel: Object) -> bool:
    """Whether its gateway has had an answer from the incarnation that the status speaks of."""
    activity: Object = status_of(kernel).get("activity") or {}
    if activity.get("executionState") not in (IDLE, BUSY):
        return False
    # Of an earlier incarnation, the activity stays until the next one's first answer.
    started = timestamps.parse(status_of(kernel).get("startTime"))
    last = timestamps.parse(activity.get("lastActivity"))
    return not incarnation(kernel) or bool(started and last and last >= started)


def desired_pod(kernel: Object, policy: Policy = podsecurity.RESTRICTED) -> Object:
    """The pod of the wanted incarnation, restricted as far as the policy goes."""
    spec = spec_of(kernel)
    template: Object = spec.get("template") or {}
    metadata = podtemplate.metadata(template)
    pod_spec = podsecurity.hardened(template.get("spec") or {}, policy)
    pod_spec["restartPolicy"] = "Never"
    pod_spec["enableServiceLinks"] = False
    pod_spec["automountServiceAccountToken"] = False
    pod_spec.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    for one in [*(pod_spec.get("initContainers") or []), *(pod_spec.get("containers") or [])]:
        # The end of the log of what fails is then in the pod's status.
        one.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    if pod_spec.get("containers"):
        container = pod_spec["containers"][podtemplate.kernel_index(template)]
        if inplace.objection(template) is None:
            container.update(inplace.supervised(container))
        _set_environment(container, spec)
        _mount_connection(pod_spec, container, spec)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_of_incarnation(kernel),
            "namespace": namespace_of(kernel),
            "labels": {**metadata.labels, **_labels(spec)},
            "annotations": metadata.annotations,
            "ownerReferences": [owner_reference(kernel, JUPYTER_KERNELS)],
        },
        "spec": pod_spec,
    }


def _labels(spec: Object) -> dict[str, str]:
    labels = {
        LABEL_NAME: APP_NAME,
        LABEL_COMPONENT: COMPONENT_KERNEL,
        LABEL_MANAGED_BY: MANAGER,
    }
    texts = {
        LABEL_KERNEL_ID: spec.get("kernelID"),
        LABEL_OWNER: spec.get("owner"),
        LABEL_SERVER: spec.get("server"),
        LABEL_GATEWAY: (spec.get("gateway") or {}).get("name"),
        LABEL_KERNEL_SPEC: spec.get("kernelSpecName"),
    }
    labels.update({key: safe_label(text) for key, text in texts.items() if text is not None})
    return labels


def _set_environment(container: Object, spec: Object) -> None:
    values = {"KERNEL_ID": spec.get("kernelID"), "KERNEL_USERNAME": spec.get("owner")}
    # Kubernetes would put in the value of X for a `$(X)` in a user's name; `$$` stands for `$`.
    ours = [
        {"name": name, "value": value.replace("$", "$$")}
        for name, value in values.items()
        if value is not None
    ]
    names = {variable["name"] for variable in ours}
    others = [entry for entry in container.get("env") or [] if entry.get("name") not in names]
    container["env"] = others + ours


def _mount_connection(pod_spec: Object, container: Object, spec: Object) -> None:
    secret = spec.get("connectionSecret")
    if not secret:
        return
    volume = {"name": _CONNECTION_VOLUME, "secret": {"secretName": secret}}
    mount = {"name": _CONNECTION_VOLUME, "mountPath": CONNECTION_DIRECTORY, "readOnly": True}
    pod_spec["volumes"] = [*(pod_spec.get("volumes") or []), volume]
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]


def status_of_admission(
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


def status_of_wait(kernel: Object, verdict: Verdict, now: datetime) -> Object:
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


def refusal_of_template(kernel: Object, policy: Policy) -> Objection | None:
    """What the kernel's template asks for and may not have; None where all is allowed."""
    own, secret = name_of(kernel), spec_of(kernel).get("connectionSecret")
    if secret not in (None, own):
        return Objection(
            Reason.SECRET_NOT_ALLOWED,
            "spec.connectionSecret",
            secret,
            f"a kernel's key is in the Secret of its own name, {own}",
            None,
        )
    return podsecurity.objection(spec_of(kernel).get("template") or {}, policy, secret=own)


def status_of_refused_template(kernel: Object, objection: Objection, now: datetime) -> Object:
    """The status of a kernel that is refused for what its template asks for."""
    message = str(objection)
    wanted = [
        Condition(ADMITTED, False, Reason.TEMPLATE_REFUSED, message),
        Condition(TEMPLATE_ACCEPTED, False, objection.reason, message),
    ]
    status = status_of_admission(
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


def status_of_pod(
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
        result["startTime"] = state.started
    result["conditions"] = conditions.merged(_conditions(kernel), wanted, now)
    return result


def status_without_pod(kernel: Object, verdict: Verdict, now: datetime) -> Object:
    """The status of an admitted kernel whose pod could not be made, for good or until now."""
    state = verdict.state
    if state.phase == Phase.FAILED:
        return status_of_fault(kernel, Fault(state.reason, state.message), now)
    wanted = [*_of_admission(kernel), Condition(RUNNING, False, state.reason, state.message)]
    return {
        "phase": state.phase,
        "conditions": conditions.merged(_conditions(kernel), wanted, now),
        "start": _start(kernel, verdict),
    }


def status_of_fault(kernel: Object, fault: Fault, now: datetime) -> Object:
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


def status_of_lost_heart(kernel: Object, message: str, now: datetime) -> Object:
    """The status of a kernel whose process does not answer, restarts notwithstanding."""
    return _ended(
        kernel, Phase.FAILED, Condition(FAILED, True, Reason.HEARTBEAT_LOST, message), now
    )


def status_of_cull(kernel: Object, message: str, now: datetime) -> Object:
    """The status of a kernel that is being ended because it was idle."""
    return _ended(kernel, Phase.CULLED, Condition(CULLED, True, Reason.IDLE, message), now)


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
