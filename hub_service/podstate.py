"""What a kernel's pod says about the kernel, in one of the kernel's phases and a sentence.

Pure, on the pod as the API server has it.
"""

from __future__ import annotations

from typing import NamedTuple

from hub_service import packages, podtemplate
from hub_service.kinds import Object, Phase, Reason, is_deleting
from hub_service.starts import faults

_DISRUPTION = "DisruptionTarget"


class PodState(NamedTuple):
    """The kernel's phase, why, and the times and exit code that the pod gives (RFC 3339)."""

    phase: str
    reason: str
    message: str
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None


def observe(pod: Object | None, *, answered: bool = True) -> PodState:
    """The state of a kernel whose pod was made; None is a pod that is gone.

    answered: whether the kernel has answered its gateway, ever; what ends before has failed to
    start.
    """
    if pod is None:
        return PodState(Phase.FAILED, Reason.POD_DELETED, "The kernel's pod was deleted.")
    status: Object = pod.get("status") or {}
    container = _kernel_status(pod)
    states: Object = container.get("state") or {}
    ended = states.get("terminated")
    if ended:
        return _of_ended(pod, ended, answered)
    started = (states.get("running") or {}).get("startedAt")
    if status.get("phase") in ("Failed", "Succeeded"):
        return _of_failed_pod(pod, status)
    if is_deleting(pod):
        return _of_deleted_pod(status, started)
    if "running" in states:
        if answered:
            return PodState(Phase.RUNNING, Reason.ANSWERING, "The kernel answers.", started)
        message = "The kernel's container runs; its first answer is awaited."
        return PodState(Phase.RUNNING, Reason.POD_RUNNING, message, started)
    return _of_waiting(pod)


def _kernel_status(pod: Object) -> Object:
    names = [container["name"] for container in podtemplate.containers(pod)]
    if not names:
        return {}
    name = names[podtemplate.kernel_index(pod)]
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status["name"] == name:
            return dict(status)
    return {}


def _of_ended(pod: Object, ended: Object, answered: bool) -> PodState:
    """The kernel's process has ended."""
    code = int(ended.get("exitCode") or 0)
    times = (ended.get("startedAt"), ended.get("finishedAt"), code)
    disruption = _disruption(pod.get("status") or {})
    if ended.get("reason") == "OOMKilled":
        return PodState(Phase.FAILED, Reason.OOM_KILLED, _out_of_memory(pod), *times)
    if disruption:
        return PodState(Phase.FAILED, Reason.EVICTED, disruption, *times)
    if is_deleting(pod):
        return PodState(Phase.FAILED, Reason.POD_DELETED, "The kernel's pod was deleted.", *times)
    if not answered:
        fault = faults.ended_early(code, ended.get("reason"), ended.get("message") or "")
        if fault:
            return PodState(Phase.FAILED, fault.reason, fault.message, *times)
    if code == 0:
        return PodState(Phase.SUCCEEDED, Reason.COMPLETED, "The kernel's process ended.", *times)
    signal = f" (signal {code - 128})" if 128 < code < 160 else ""
    last = faults.last_words(ended.get("message") or "")
    details = f": {last}" if last else "."
    message = f"The kernel's process ended with exit code {code}{signal}{details}"
    return PodState(Phase.FAILED, Reason.CONTAINER_EXITED, message, *times)


def _out_of_memory(pod: Object) -> str:
    container = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    if limit:
        return f"The kernel was killed because it used more memory than its limit of {limit}."
    return "The kernel was killed because its node was out of memory; it had no limit of its own."


def _of_failed_pod(pod: Object, status: Object) -> PodState:
    """The pod is over, and the kernel's container has nothing to say about it."""
    if status.get("reason") == "Evicted":
        message = status.get("message") or "The kernel's pod was evicted from its node."
        return PodState(Phase.FAILED, Reason.EVICTED, message)
    disruption = _disruption(status)
    if disruption:
        return PodState(Phase.FAILED, Reason.EVICTED, disruption)
    for init in status.get("initContainerStatuses") or []:
        ended = (init.get("state") or {}).get("terminated") or {}
        code = int(ended.get("exitCode") or 0)
        if code:
            message = _of_failed_init_container(init["name"], code, ended.get("message") or "")
            return PodState(Phase.FAILED, Reason.CONTAINER_EXITED, message, exit_code=code)
    if is_deleting(pod):
        return PodState(Phase.FAILED, Reason.POD_DELETED, "The kernel's pod was deleted.")
    words = [text for text in (status.get("reason"), status.get("message")) if text]
    message = ": ".join(words) or "The node did not take the pod, and said no reason."
    return PodState(Phase.FAILED, Reason.POD_REJECTED, message)


def _of_failed_init_container(name: str, code: int, output: str) -> str:
    """What an init container said last, where it said anything."""
    said = [line.strip() for line in output.splitlines() if line.strip()]
    last = said[-1].removeprefix("ERROR: ") if said else ""
    if name == packages.CONTAINER:
        return f"The packages could not be installed: {last or f'exit code {code}'}"
    because = f": {last}" if last else "."
    return f"The init container {name} ended with exit code {code}{because}"


def _of_deleted_pod(status: Object, started: str | None) -> PodState:
    """Deletion was asked for: the kernel is lost, even if its process still runs for a moment."""
    disruption = _disruption(status)
    reason = Reason.EVICTED if disruption else Reason.POD_DELETED
    return PodState(Phase.FAILED, reason, disruption or "The kernel's pod was deleted.", started)


def _disruption(status: Object) -> str | None:
    """Why the cluster ends the pod, if it does."""
    for condition in status.get("conditions") or []:
        if condition.get("type") == _DISRUPTION and condition.get("status") == "True":
            words = [condition.get("reason"), condition.get("message")]
            return ": ".join(word for word in words if word)
    return None


def _of_waiting(pod: Object) -> PodState:
    """The kernel's container has not begun; `starts.judge` says more."""
    if (pod.get("spec") or {}).get("nodeName"):
        return PodState(
            Phase.STARTING, Reason.CONTAINER_CREATING, "The kernel's container is being created."
        )
    return PodState(Phase.PENDING, Reason.POD_PENDING, "The kernel's pod waits for a node.")
