"""What is said of specs and templates."""

from datetime import UTC, datetime

import pytest

from hub_service.kernelspecs import kernelspec_status
from hub_service.kernelspecs.kernelspec_status import Problem
from hub_service.kinds import JUPYTER_KERNEL_SPECS, Phase, condition
from hub_service.pods.podsecurity import RESTRICTED

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = {"metadata": {"name": "gpu", "namespace": "ns", "generation": 3}, "spec": {"image": "x"}}


def said(status):
    entry = condition({"status": status}, "Accepted")
    return entry["status"], entry["reason"], entry["message"]


def test_a_spec():
    status = kernelspec_status.spec_status(SPEC, None, [], 2, NOW)
    assert said(status) == ("True", "Accepted", "Kernels can be started from it.")
    assert (status["observedGeneration"], status["kernels"]) == (3, 2)
    problem = Problem("NoImage", "Set one.")
    assert said(kernelspec_status.spec_status(SPEC, problem, ["x"], 0, NOW)) == (
        "False",
        "NoImage",
        "Set one.",
    )
    left_out = kernelspec_status.spec_status(SPEC, None, ["a is left out", "b too"], 0, NOW)
    assert said(left_out) == ("True", "Corrected", "a is left out; b too.")


@pytest.mark.parametrize(
    ("pod_spec", "status", "reason", "words"),
    [
        ({}, "True", "Accepted", "used as it is"),
        ({"restartPolicy": "Always"}, "True", "Corrected", "taken as Never"),
        (
            {"hostIPC": True},
            "False",
            "HostNamespaceNotAllowed",
            "spec.template.spec.hostIPC (True)",
        ),
        (
            {"containers": [{"name": "k", "resources": {"requests": {"cpu": "all"}}}]},
            "False",
            "InvalidQuantity",
            "spec.template.spec.containers[k].resources.requests[cpu] ('all')",
        ),
    ],
)
def test_a_template(pod_spec, status, reason, words):
    template = {"metadata": {"name": "t"}, "spec": {"template": {"spec": pod_spec}}}
    result = kernelspec_status.template_status(template, 1, 2, RESTRICTED, NOW)
    assert said(result)[:2] == (status, reason)
    assert words in said(result)[2]
    assert (result["specs"], result["kernels"]) == (1, 2)


def test_which_kernels_count():
    kernel = {"metadata": {}, "status": {"phase": Phase.PENDING}}
    assert kernelspec_status.is_in_use(kernel)
    assert kernelspec_status.is_in_use({"metadata": {}})
    assert not kernelspec_status.is_in_use({"metadata": {}, "status": {"phase": Phase.FAILED}})
    assert not kernelspec_status.is_in_use({"metadata": {"deletionTimestamp": "x"}})


def test_an_event_is_named_by_what_it_says():
    kernel = {"metadata": {"name": "kernel-1", "namespace": "ns", "uid": "u"}}
    event = kernelspec_status.deletion_event(kernel, JUPYTER_KERNEL_SPECS, "gpu", NOW)
    assert event["metadata"]["name"] == "kernel-1.jupyterkernelspec-deleted"
    assert event["reason"] == "KernelSpecDeleted"
    assert "JupyterKernelSpec gpu was deleted" in event["message"]
    assert event["involvedObject"]["uid"] == "u"
