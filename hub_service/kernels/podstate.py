"""What a kernel's pod says about the kernel, in one of the kernel's phases and a sentence.

Pure, on the pod as the API server has it.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from hub_service.kernels import inplace
from hub_service.kernelspecs import packages
from hub_service.kinds import Object, Phase, Reason, is_deleting
from hub_service.pods import podtemplate
from hub_service.starts import faults

_NO_SHELL = (
    f"The image has no {inplace.SHELL}, which restarts in place need: set restartInPlace: false "
    "in the JupyterKernelSpec"
)
_COMPLETED = "The kernel's process ended by itself, as after exit()."
_SIGNALS = {
    "SIGKILL": "killed",
    "SIGSEGV": "a crash in native code",
    "SIGABRT": "a crash in native code",
    "SIGBUS": "a crash in native code; or /dev/shm is full",
    "SIGILL": "an instruction that its processor does not have",
    "SIGFPE": "a crash in native code",
    "SIGTERM": "told to end",
}
_GREETING = "    --existing "
_DISRUPTION = "DisruptionTarget"
# Kueue's, of a pod that it stops.
_STOPPED_BY_QUEUE = "TerminationTarget"
_BY_QUEUE = (Reason.PREEMPTED, "The kernel's queue (Kueue) took back what its pod had on {node}")
_BY_TAINT, _BY_COLLECTOR = "DeletionByTaintManager", "DeletionByPodGC"
# By the condition's reason: ours, and what has happened.
_DISRUPTED = (Reason.EVICTED, "The cluster ended the kernel's pod on {node}")
_DISRUPTIONS = {
    "PreemptionByScheduler": (
        Reason.PREEMPTED,
        "The kernel's pod had to make room for one of higher priority on {node}",
    ),
    "EvictionByEvictionAPI": (
        Reason.EVICTED,
        "The kernel's pod was evicted from {node}, as when a node is drained for maintenance",
    ),
    _BY_TAINT: (Reason.EVICTED, "The kernel's node {node} was closed to its pod by a taint"),
    _BY_COLLECTOR: (Reason.NODE_LOST, "The kernel's node {node} was lost"),
    "TerminationByKubelet": (
        Reason.EVICTED,
        "The kernel's node {node} ended its pod, being short of something or shutting down",
    ),
}
_DELETED = (
    Reason.POD_DELETED,
    "The kernel's pod was deleted by an administrator or a program of theirs.",
)
# The pod's own reason.
_LOST = frozenset({"NodeLost"})
_BY_KUBELET = frozenset({"Evicted", "Preempting", "NodeShutdown", "Shutdown", "Terminated"})


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
        return PodState(Phase.FAILED, *_DELETED)
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
        return PodState(Phase.FAILED, *(_removal(pod) or _DELETED), started)
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
    if ended.get("reason") == "OOMKilled":
        return PodState(Phase.FAILED, Reason.OOM_KILLED, _out_of_memory(pod), *times)
    if removal := _removal(pod):
        reason, message = removal
        return PodState(Phase.FAILED, reason, message, *times)
    said = ended.get("message") or ""
    if not answered:
        fault = faults.ended_early(code, ended.get("reason"), said)
        if fault:
            missing = ended.get("reason") == "StartError" and inplace.SHELL in said
            hint = f" {_NO_SHELL}" if missing else ""
            return PodState(Phase.FAILED, fault.reason, fault.message + hint, *times)
    if code == 0:
        return PodState(Phase.SUCCEEDED, Reason.COMPLETED, _COMPLETED, *times)
    last = faults.last_words(_after_greeting(said))
    details = f". The last lines of its log:\n{last}" if last else "."
    message = f"The kernel's process ended with exit code {code}{_signal(code)}{details}"
    return PodState(Phase.FAILED, Reason.CONTAINER_EXITED, message, *times)


def _after_greeting(log: str) -> str:
    """A log without what ipykernel says on its start, whose last line is how to connect to it."""
    before, greeting, after = log.rpartition(_GREETING)
    return after.partition("\n")[2] if greeting else before + after


def _signal(code: int) -> str:
    """What an exit code beyond 128 means."""
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return ""
    known = _SIGNALS.get(name)
    return f" ({name}, {known})" if known else f" ({name})"


def _out_of_memory(pod: Object) -> str:
    container = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    if limit:
        return f"The kernel was killed because it used more memory than its limit of {limit}."
    return "The kernel was killed because its node was out of memory; it had no limit of its own."


def _of_failed_pod(pod: Object, status: Object) -> PodState:
    """The pod is over, and the kernel's container has nothing to say about it."""
    if removal := _removal(pod, unless_deleted=True):
        return PodState(Phase.FAILED, *removal)
    for init in status.get("initContainerStatuses") or []:
        ended = (init.get("state") or {}).get("terminated") or {}
        code = int(ended.get("exitCode") or 0)
        if code:
            message = _of_failed_init_container(init["name"], code, ended.get("message") or "")
            return PodState(Phase.FAILED, Reason.CONTAINER_EXITED, message, exit_code=code)
    if is_deleting(pod):
        return PodState(Phase.FAILED, *_DELETED)
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


def _removal(pod: Object, *, unless_deleted: bool = False) -> tuple[str, str] | None:
    """(reason, sentence) of a pod that the cluster or a person removes; None if nobody does.

    A pod on a node that is lost says no more: what is known is that it is to go, and why.
    """
    status: Object = pod.get("status") or {}
    node = (pod.get("spec") or {}).get("nodeName") or "its node"
    for condition in status.get("conditions") or []:
        kind = condition.get("type")
        if kind not in (_DISRUPTION, _STOPPED_BY_QUEUE) or condition.get("status") != "True":
            continue
        said = condition.get("reason") or ""
        details = f" ({said}: {condition['message']})" if condition.get("message") else f" ({said})"
        if said == _BY_TAINT and not _is_heard_of(pod):
            said = _BY_COLLECTOR
        by_queue = kind == _STOPPED_BY_QUEUE
        reason, sentence = _BY_QUEUE if by_queue else _DISRUPTIONS.get(said, _DISRUPTED)
        return reason, sentence.format(node=node) + details
    if status.get("reason") in _LOST:
        return Reason.NODE_LOST, f"The kernel's node {node} was lost."
    if status.get("reason") in _BY_KUBELET and status.get("phase") == "Failed":
        said = status.get("message") or "no details"
        return Reason.EVICTED, f"The kernel's pod was evicted from its node {node}: {said}"
    return None if unless_deleted or not is_deleting(pod) else _DELETED


def _is_heard_of(pod: Object) -> bool:
    """Whether the pod's node still reports: of a lost one it says that its pods aren't ready."""
    if "terminated" in (_kernel_status(pod).get("state") or {}):
        return True
    conditions = (pod.get("status") or {}).get("conditions") or []
    return not any(
        condition.get("type") == "Ready" and condition.get("status") != "True"
        for condition in conditions
    )


def _of_waiting(pod: Object) -> PodState:
    """The kernel's container has not begun; `starts.judge` says more."""
    if (pod.get("spec") or {}).get("nodeName"):
        return PodState(
            Phase.STARTING, Reason.CONTAINER_CREATING, "The kernel's container is being created."
        )
    return PodState(Phase.PENDING, Reason.POD_PENDING, "The kernel's pod waits for a node.")
