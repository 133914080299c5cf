"""Kernels in the queues of Kueue, which lets pods on in place of our line. Pure.

A pod with a queue's name in a label is kept behind a gate of Kueue's, which makes a Workload for it
and takes the gate away when the Workload is admitted.
"""

from __future__ import annotations

from hub_service.kinds import KUEUE, Object, condition, controller

LABEL_QUEUE = f"{KUEUE}/queue-name"
GATE = f"{KUEUE}/admission"

# Conditions of a Workload, in the order in which they say why it is not admitted.
_SAYS = ("Evicted", "QuotaReserved", "Admitted")
_POD = "Pod"


def queue_of(pod: Object) -> str | None:
    """The LocalQueue that a pod is for, by its label."""
    return (pod["metadata"].get("labels") or {}).get(LABEL_QUEUE)


def queued(pod: Object, queue: str) -> Object:
    """A pod that is to be created, for that queue."""
    metadata = pod["metadata"]
    labels = {**(metadata.get("labels") or {}), LABEL_QUEUE: queue}
    return {**pod, "metadata": {**metadata, "labels": labels}}


def pod_of(workload: Object) -> tuple[str, str] | None:
    """Namespace and name of the pod that a Workload was made for; None where it isn't for one."""
    owner = controller(workload, _POD)
    return (str(workload["metadata"].get("namespace", "")), owner["name"]) if owner else None


def pod_uid(workload: Object) -> str | None:
    """Index of Workloads by the uid of their pod."""
    owner = controller(workload, _POD)
    return owner["uid"] if owner else None


def words(workload: Object | None) -> str:
    """Why a Workload is not admitted, in Kueue's words; "" where it says nothing."""
    for kind in _SAYS:
        said = condition(workload, kind) if workload else None
        if said and (said.get("status") == "True") == (kind == "Evicted") and said.get("message"):
            return " ".join(str(said["message"]).split())
    return ""


def describe(queue: str, said: str) -> str:
    """What a kernel in a queue waits for, in a sentence."""
    cause = f" ({said})" if said else ""
    return f"Waiting in the queue {queue}, until Kueue lets this kernel on.{cause}"
