"""Which step a kernel's start is at, since when, and whether it can still succeed. Pure.

A start goes on as long as it makes progress: each step has its own deadline, counted from the
step's beginning, and what can't succeed ends it at once, or after a moment where the missing thing
may be on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kernels.podstate import PodState
from hub_service.kernelspecs.packages import CONTAINER as PACKAGES
from hub_service.kinds import Object, Phase, Reason, condition
from hub_service.pods import podtemplate
from hub_service.sharing import kueue
from hub_service.sharing.pods import gates, is_gated
from hub_service.starts import events as pod_events
from hub_service.starts import faults, line, room
from hub_service.starts.faults import Fault

# How long something that a pod refers to may be missing: it may have been made just after the pod.
_SETTLES_IN = timedelta(seconds=3)
# How often a failure of kubelet's must have been seen before it is believed.
_TWICE = 2
_LOOK_AT_LINE_AGAIN = timedelta(seconds=5)

_SCALE_UP = ("TriggeredScaleUp", "Nominated")
_NO_SCALE_UP = ("NotTriggerScaleUp",)
_TROUBLE = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")


class Step(NamedTuple):
    """A phase of the start that has a deadline: its setting, and the reason when it is over."""

    setting: str
    timeout_reason: str
    what: str


ADMISSION = Step("admissionTimeout", Reason.ADMISSION_TIMEOUT, "Making the kernel's pod")
ADMITTED = Step("admissionTimeout", Reason.ADMISSION_TIMEOUT, "Admitting the kernel")
QUOTA = Step("schedulingTimeout", Reason.SCHEDULING_TIMEOUT, "Waiting for room in the quota")
SCHEDULING = Step("schedulingTimeout", Reason.SCHEDULING_TIMEOUT, "Waiting for a node")
IMAGE = Step("imageTimeout", Reason.IMAGE_TIMEOUT, "Pulling the image")
CONTAINER = Step("containerTimeout", Reason.CONTAINER_TIMEOUT, "Preparing the kernel's container")


class Times(NamedTuple):
    """Seconds that each step may take; 0 or less: no end.

    `autoscaler`: whether nodes are added as pods need them.
    """

    admission: float
    scheduling: float
    image: float
    container: float
    autoscaler: bool = False

    def of(self, step: Step) -> timedelta | None:
        """How long a step may take."""
        by_step = {
            ADMITTED: self.admission,
            ADMISSION: self.admission,
            QUOTA: self.scheduling,
            SCHEDULING: self.scheduling,
            IMAGE: self.image,
            CONTAINER: self.container,
        }
        seconds = by_step[step]
        return timedelta(seconds=seconds) if seconds > 0 else None


class Verdict(NamedTuple):
    """The state of a start, failed or waiting, and since when it is at this step.

    `deadline` is until when it may be, None: for ever. `before` counts the kernels that wait before
    this one, where it stands in line. `again` is when to look again even if nothing changes.
    """

    state: PodState
    since: datetime
    deadline: datetime | None = None
    before: int | None = None
    again: datetime | None = None


def judge(
    pod: Object,
    events: Sequence[Object],
    *,
    times: Times,
    now: datetime,
    before: int | None = None,
    nodes: Sequence[room.Node] = (),
    queue: str = "",
) -> Verdict:
    """A start whose pod is there and whose kernel container does not run yet.

    `events` are the pod's own; `before` says how many wait before it, where it waits; `nodes` are
    those of the cluster, empty where they aren't known. `queue`: what Kueue says of the pod.
    """
    made = _created(pod) or now
    scheduled = condition(pod, "PodScheduled") or {}
    if not (pod.get("spec") or {}).get("nodeName"):
        if not is_gated(pod) and gates(pod):
            return _behind_others_gates(pod, times, now, made, queue)
        return _without_node(pod, events, times, now, made, before, nodes)
    arrived = timestamps.parse(scheduled.get("lastTransitionTime")) or made
    return _on_node(pod, events, times, now, arrived)


def judge_refusal(
    words: str, *, refused: bool, since: datetime, times: Times, now: datetime
) -> Verdict:
    """A start whose pod could not be made.

    `refused`: the API server doesn't want it, rather than couldn't answer. `since`: when the
    making began.
    """
    if refused and not faults.is_full(words):
        return _failed(faults.rejection(words), since)
    if refused:
        if fault := faults.namespace_quota(words):
            return _failed(fault, since)
        message = (
            "Waiting for room in the namespace's ResourceQuota, which other pods have used up. "
            f"({words})"
        )
        state = PodState(Phase.PENDING, Reason.NAMESPACE_FULL, message)
        return _within(SCHEDULING, state, since, times, now, again=now + _LOOK_AT_LINE_AGAIN)
    message = f"The cluster has not made the kernel's pod yet, and is asked again. ({words})"
    state = PodState(Phase.PENDING, Reason.POD_NOT_MADE, message)
    return _within(ADMISSION, state, since, times, now)


def judge_admission(
    reason: str,
    message: str,
    *,
    since: datetime,
    times: Times,
    now: datetime,
    before: int | None = None,
) -> Verdict:
    """A start that is not admitted yet: until others of its owner end, or more is known.

    `before`: how many wait before it, where there is a line.
    """
    step = QUOTA if reason == Reason.WAITING_FOR_QUOTA else ADMITTED
    state = PodState(Phase.PENDING, reason, message)
    return _within(step, state, since, times, now)._replace(before=before)


def wants_nodes(pod: Object) -> bool:
    """Whether it is worth knowing the cluster's nodes: the scheduler found none for this pod.

    Or would find none, as others wait before it.
    """
    waits = room.scheduler_words(pod) or is_gated(pod)
    return bool(not (pod.get("spec") or {}).get("nodeName") and waits)


def _without_node(
    pod: Object,
    events: Sequence[Object],
    times: Times,
    now: datetime,
    made: datetime,
    before: int | None,
    nodes: Sequence[room.Node],
) -> Verdict:
    words = room.scheduler_words(pod)
    if is_gated(pod):
        return _in_line(pod, times, now, made, before, nodes)
    if not words:
        state = PodState(Phase.PENDING, Reason.POD_PENDING, "The kernel's pod waits for a node.")
        return _within(SCHEDULING, state, made, times, now)
    cause = f" ({words})"
    if fault := faults.reference(words):
        return _fault(fault, SCHEDULING, PodState(
            Phase.PENDING, Reason.UNSCHEDULABLE, f"No node takes this kernel yet.{cause}"
        ), made, times, now)  # fmt: skip
    scaling = pod_events.latest(events, *_SCALE_UP, *_NO_SCALE_UP)
    if scaling is not None and scaling["reason"] in _SCALE_UP:
        said = pod_events.message(scaling)
        message = f"A node is being added to the cluster for this kernel. ({said})"
        state = PodState(Phase.PENDING, Reason.SCALING_UP, message)
        return _within(SCHEDULING, state, made, times, now)
    may_grow = scaling is not None or times.autoscaler
    if never := room.never_fits(pod, nodes, may_grow=may_grow):
        return _failed(never._replace(message=f"{never.message}{cause}"), made)
    if scaling is not None:
        cause = f" ({words} {pod_events.message(scaling)})"
    if before is None or line.scarce_of(pod) is None:
        message = f"No node takes this kernel yet.{cause}"
    else:
        message = f"{line.describe(pod, before)}{cause}"
    state = PodState(Phase.PENDING, Reason.UNSCHEDULABLE, message)
    verdict = _within(SCHEDULING, state, made, times, now, again=now + _LOOK_AT_LINE_AGAIN)
    return verdict._replace(before=before)


def _in_line(
    pod: Object,
    times: Times,
    now: datetime,
    made: datetime,
    before: int | None,
    nodes: Sequence[room.Node],
) -> Verdict:
    """Others wait before it, and the scheduler isn't asked yet."""
    if never := room.never_fits(pod, nodes, may_grow=times.autoscaler):
        return _failed(never, made)
    state = PodState(Phase.PENDING, Reason.WAITING_IN_LINE, line.describe(pod, before or 0))
    verdict = _within(SCHEDULING, state, made, times, now, again=now + _LOOK_AT_LINE_AGAIN)
    return verdict._replace(before=before)


def _behind_others_gates(
    pod: Object, times: Times, now: datetime, made: datetime, queue: str
) -> Verdict:
    names = ", ".join(gates(pod))
    message = f"The kernel's pod is held back from the scheduler until others let it on ({names})."
    if kueue.GATE in gates(pod):
        message = kueue.describe(kueue.queue_of(pod) or "", queue)
    state = PodState(Phase.PENDING, Reason.SCHEDULING_GATED, message)
    return _within(SCHEDULING, state, made, times, now)


def _on_node(
    pod: Object, events: Sequence[Object], times: Times, now: datetime, arrived: datetime
) -> Verdict:
    current, since = _current(pod, arrived)
    name = current.name
    waiting: Object = current.state.get("waiting") or {}
    said, words = waiting.get("reason") or "", " ".join(str(waiting.get("message") or "").split())
    pull = pod_events.latest(
        (event for event in events if pod_events.is_about(event, name)), "Pulling"
    )
    pulling_since = max(since, pod_events.first_at(pull)) if pull else since
    if faults.is_image_trouble(said):
        tries = sum(pod_events.times(event) for event in events if _is_failed_pull(event, name))
        state = PodState(
            Phase.STARTING,
            Reason.IMAGE_ERROR,
            f"The image {current.image} could not be pulled yet, and is tried again. "
            f"({said}: {words})",
        )
        if fault := faults.image(current.image, said, words, tries):
            return _failed(fault, pulling_since)
        return _within(IMAGE, state, pulling_since, times, now)
    if "running" in current.state:
        what = (
            "The kernel's packages are being installed." if name == PACKAGES
            else f"The init container {name} runs, before the kernel can."
        )  # fmt: skip
        return _within(
            CONTAINER, PodState(Phase.STARTING, Reason.INITIALIZING, what), since, times, now
        )
    if said not in ("", "ContainerCreating", "PodInitializing"):
        message = (
            f"The container {name} could not be made yet, and is tried again. ({said}: {words})"
        )
        state = PodState(Phase.STARTING, Reason.CONTAINER_ERROR, message)
        if fault := faults.container(said, words):
            return _fault(fault, CONTAINER, state, since, times, now)
        return _within(CONTAINER, state, since, times, now)
    if pull is not None:
        message = f"The image {current.image} is being pulled onto the node."
        state = PodState(Phase.STARTING, Reason.PULLING_IMAGE, message)
        return _within(IMAGE, state, pulling_since, times, now)
    return _creating(events, times, now, since)


def _creating(events: Sequence[Object], times: Times, now: datetime, since: datetime) -> Verdict:
    """The node prepares the pod: its volumes and network."""
    message = "The kernel's container is being created."
    trouble = pod_events.latest(events, *_TROUBLE)
    if trouble is None:
        state = PodState(Phase.STARTING, Reason.CONTAINER_CREATING, message)
        return _within(CONTAINER, state, since, times, now)
    words = pod_events.message(trouble)
    state = PodState(
        Phase.STARTING,
        Reason.CONTAINER_CREATING,
        f"The kernel's container can't be created yet, and is tried again. "
        f"({trouble['reason']}: {words})",
    )
    fault = faults.reference(words) if trouble["reason"] == "FailedMount" else None
    if fault is not None and pod_events.times(trouble) >= _TWICE:
        return _fault(fault, CONTAINER, state, since, times, now)
    return _within(CONTAINER, state, since, times, now, again=now + _SETTLES_IN)


class _Current(NamedTuple):
    """The container that the start is at."""

    name: str
    image: str
    state: Object


def _current(pod: Object, arrived: datetime) -> tuple[_Current, datetime]:
    """The container whose turn it is, and since when."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    since = arrived
    states = {
        one["name"]: one.get("state") or {}
        for one in [
            *(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])
        ]
    }  # fmt: skip
    for init in spec.get("initContainers") or []:
        state = states.get(init["name"], {})
        began = timestamps.parse((state.get("running") or {}).get("startedAt"))
        ended = timestamps.parse((state.get("terminated") or {}).get("finishedAt"))
        since = max(since, began or since, ended or since)
        if "terminated" in state or (began and init.get("restartPolicy") == "Always"):
            continue
        return _Current(init["name"], init.get("image", ""), state), since
    containers = podtemplate.containers(pod)
    kernel = containers[podtemplate.kernel_index(pod)] if containers else {"name": ""}
    return _Current(kernel["name"], kernel.get("image", ""), states.get(kernel["name"], {})), since


def _is_failed_pull(event: Object, container: str) -> bool:
    about = event.get("reason") == "Failed" and pod_events.is_about(event, container)
    return about and pod_events.message(event).startswith("Failed to pull image")


def _fault(
    fault: Fault, step: Step, state: PodState, since: datetime, times: Times, now: datetime
) -> Verdict:
    """The fault, once it is certain; until then a start that waits."""
    certain = since + _SETTLES_IN
    if fault.at_once or now >= certain:
        return _failed(fault, since)
    return _within(step, state, since, times, now, again=certain)


def _failed(fault: Fault, since: datetime) -> Verdict:
    return Verdict(PodState(Phase.FAILED, fault.reason, fault.message), since)


def _within(
    step: Step,
    state: PodState,
    since: datetime,
    times: Times,
    now: datetime,
    *,
    again: datetime | None = None,
) -> Verdict:
    """A start that waits, unless the step's time is over."""
    limit = times.of(step)
    deadline = since + limit if limit else None
    if limit and deadline and now >= deadline:
        message = (
            f"{step.what} took longer than the {limit.total_seconds():.0f} s that start."
            f"{step.setting} allows. Last it was: {state.message}"
        )
        return _failed(Fault(step.timeout_reason, message), since)
    moments = [moment for moment in (again, deadline) if moment]
    return Verdict(state, since, deadline, again=min(moments, default=None))


def _created(pod: Object) -> datetime | None:
    return timestamps.parse(pod["metadata"].get("creationTimestamp"))
