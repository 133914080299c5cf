"""Kernels and pods as the tests of what follows from them need them."""

from datetime import UTC, datetime

from hub_service.kernels import kernel_status

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2030, 1, 2, 3, 5, 5, tzinfo=UTC)
STAMP, LATER_STAMP = "2030-01-02T03:04:05Z", "2030-01-02T03:05:05Z"


def a_kernel(*, pod_spec=None, metadata=None, status=None, **spec):
    container = {"name": "kernel", "image": "kernel:1"}
    item = {
        "metadata": {"name": "kernel-1", "namespace": "users", "uid": "u-1"},
        "spec": {
            "owner": "alice",
            "kernelID": "0b2c",
            "template": {
                "metadata": metadata or {},
                "spec": {"containers": [container], **(pod_spec or {})},
            },
            **spec,
        },
    }
    if status is not None:
        item["status"] = status
    return item


def a_pod(phase="Pending", name="kernel-1", state=None, node=None, deleting=False, **status):
    metadata = {"name": name, "namespace": "users"}
    if deleting:
        metadata["deletionTimestamp"] = STAMP
    spec = {"containers": [{"name": "kernel", "image": "kernel:1"}]}
    if node:
        spec["nodeName"] = node
    if state:
        status["containerStatuses"] = [{"name": "kernel", "state": state}]
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, **status}}


def with_status(item, status):
    """The kernel after a status of ours was merged into its own."""
    merged = {**item.get("status", {}), **status}
    return {**item, "status": {key: value for key, value in merged.items() if value is not None}}


def admitted(**options):
    item = a_kernel(**options)
    status = kernel_status.of_admission(
        item, admitted=True, reason="WithinQuota", message="Kernel 1 of 2.", now=NOW
    )
    return with_status(item, status)


def admitted_of(item):
    return with_status(
        item,
        kernel_status.of_admission(item, admitted=True, reason="r", message="m", now=NOW),
    )
