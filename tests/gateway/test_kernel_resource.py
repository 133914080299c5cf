"""What the gateway reads in a JupyterKernel's status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from elastic_spawner.gateway import adoption
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.kernel_resource import KernelRequest, jupyter_kernel, observe
from hub_service.kernels import kernel as kernels
from hub_service.kernels import kernel_status
from hub_service.kinds import Object, Reason

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = KernelRequest(
    gateway_namespace="gateways",
    kernel_id="0b6f",
    namespace="users",
    gateway="shared",
    owner="Zoë@b.org",
    server=None,
    spec_name="python",
    kernel_name="python-large",
    interrupt_mode="signal",
    template={"spec": {"containers": [{"name": "kernel", "image": "i"}]}},
    cull_idle_timeout=60,
)


def with_status(kernel: Object, **status: Any) -> Object:
    return {**kernel, "status": {**kernel.get("status", {}), **status}}


def created(incarnation: int = 0) -> Object:
    kernel = jupyter_kernel(REQUEST)
    kernel["metadata"]["uid"] = "u"
    kernel["spec"]["incarnation"] = incarnation
    return kernel


def admitted(incarnation: int = 0, **more: Any) -> Object:
    kernel = created(incarnation)
    status = kernel_status.of_admission(
        kernel, admitted=True, reason=Reason.WITHIN_QUOTA, message="", now=NOW, **more
    )
    return with_status(kernel, **status)


def with_pod(kernel: Object, state: dict[str, Any], phase: str = "Pending", ip: str = "") -> Object:
    pod = kernels.desired_pod(kernel)
    pod["spec"]["nodeName"] = "node"
    pod["status"] = {
        "phase": phase,
        "podIP": ip or None,
        "containerStatuses": [{"name": "kernel", "state": state}],
    }
    return with_status(kernel, **kernel_status.of_pod(kernel, pod, NOW))


def test_what_is_created() -> None:
    kernel = created()
    assert kernel["spec"]["owner"] == "Zoë@b.org"
    assert "server" not in kernel["spec"]
    assert kernel["spec"]["cullIdleTimeout"] == 60
    assert all(value.isascii() for value in kernel["metadata"]["labels"].values())


@pytest.mark.parametrize("kernel", [created(), admitted()])
def test_there_is_nothing_to_see_yet(kernel: Object) -> None:
    seen = observe(kernel, 0)
    assert (seen.pod_ip, seen.ending) == (None, None)


def test_the_address_is_taken_before_the_pod_counts_as_running() -> None:
    seen = observe(with_pod(admitted(), {"waiting": {}}, ip="10.0.0.1"), 0)
    assert seen.pod_ip == "10.0.0.1"
    assert seen.waiting_for
    running = observe(with_pod(admitted(), {"running": {}}, "Running", "10.0.0.1"), 0)
    assert (running.pod_ip, running.waiting_for) == ("10.0.0.1", None)


def test_what_it_waits_for_is_passed_on() -> None:
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    seen = observe(with_pod(admitted(), waiting), 0)
    assert seen.waiting_for == "The kernel's container is being created."


def test_a_refusal() -> None:
    kernel = created()
    status = kernel_status.of_admission(
        kernel, admitted=False, reason=Reason.QUOTA_EXCEEDED, message="Enough.", now=NOW
    )
    ending = observe(with_status(kernel, **status), 0).ending
    assert ending
    assert (ending.reason, ending.message) == ("QuotaExceeded", "Enough.")


@pytest.mark.parametrize(
    ("terminated", "reason"),
    [
        ({"exitCode": 137, "reason": "OOMKilled"}, "OOMKilled"),
        ({"exitCode": 1, "reason": "Error"}, "CrashedAtStart"),
        ({"exitCode": 0, "reason": "Completed"}, "Completed"),
    ],
)
def test_the_end_of_the_process(terminated: dict[str, Any], reason: str) -> None:
    ending = observe(with_pod(admitted(), {"terminated": terminated}), 0).ending
    assert ending
    assert ending.reason == reason
    assert ending.message


def test_the_status_of_an_earlier_pod_says_nothing_of_the_next() -> None:
    dead = with_pod(admitted(), {"terminated": {"exitCode": 1}}, "Failed", "10.0.0.1")
    dead["spec"]["incarnation"] = 1
    seen = observe(dead, 1)
    assert (seen.pod_ip, seen.ending) == (None, None)


def test_a_kernel_that_is_gone_going_or_culled() -> None:
    gone = observe(None, 0).ending
    assert gone
    assert gone.reason == "KernelDeleted"
    going = created()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ending = observe(going, 0).ending
    assert ending
    assert ending.reason == "KernelDeleted"
    culled = admitted()
    culled = with_status(culled, **kernel_status.of_cull(culled, "Idle", "Idle for an hour.", NOW))
    ending = observe(culled, 0).ending
    assert ending
    assert ending.message == "Idle for an hour."


def test_what_is_found_again() -> None:
    kernel = with_pod(admitted(), {"running": {}}, "Running", "10.0.0.7")
    kernel["metadata"]["uid"] = "u"
    assert adoption.is_served_by(kernel, ("gateways", "shared"))
    assert not adoption.is_served_by(kernel, ("users", "shared"))

    found = adoption.read(kernel)

    assert found.owner == Identity("Zoë@b.org")
    assert (found.kernel_id, found.kernel_name, found.interrupt_mode) == (
        "0b6f",
        "python-large",
        "signal",
    )
    assert (found.namespace, found.secret, found.activity) == ("users", "kernel-0b6f", {})


def test_what_nobody_can_use() -> None:
    kernel = created()
    refused = kernel_status.of_admission(
        kernel, admitted=False, reason=Reason.QUOTA_EXCEEDED, message="Too many.", now=NOW
    )
    with pytest.raises(adoption.UnusableError, match="refused"):
        adoption.read(with_status(kernel, **refused))
    with pytest.raises(adoption.UnusableError, match="no connection file"):
        adoption.keys_of({"data": {}})
