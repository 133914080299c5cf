"""What of a kernel's change is counted."""

import pytest

from hub_service.api.metrics import came_to, is_first_running


def kernel(*conditions, phase="Pending", incarnation=0):
    entries = [{"type": t, "status": s, "reason": r} for t, s, r in conditions]
    return {"status": {"phase": phase, "incarnation": incarnation, "conditions": entries}}


NEW = {"metadata": {"name": "kernel-1"}}
ADMITTED = ("Admitted", "True", "WithinQuota")
FAILED = ("Failed", "True", "OOMKilled")


@pytest.mark.parametrize("old", [None, NEW], ids=["not seen before", "not decided before"])
def test_an_admission_counts_when_it_is_decided(old):
    assert came_to("Admitted", old, kernel(ADMITTED))["reason"] == "WithinQuota"


def test_nothing_counts_twice():
    assert came_to("Admitted", kernel(ADMITTED), kernel(ADMITTED, FAILED)) is None
    assert came_to("Failed", kernel(ADMITTED, FAILED), kernel(ADMITTED, FAILED)) is None


def test_a_restart_is_no_admission_and_fails_anew():
    before, after = kernel(ADMITTED, FAILED), kernel(ADMITTED, FAILED, incarnation=1)
    assert came_to("Admitted", before, after) is None
    assert came_to("Failed", before, after)["reason"] == "OOMKilled"


def test_the_first_start_is_timed_and_no_restart():
    assert is_first_running(kernel(), kernel(phase="Running"))
    assert not is_first_running(kernel(phase="Running"), kernel(phase="Running"))
    assert not is_first_running(kernel(), kernel(phase="Running", incarnation=1))
