"""Admission, as arithmetic and in any order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_service import quota
from hub_service.kernel import is_admitted, is_decided, status_of_admission

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def kernel(number, *, state="new", owner="alice", incarnation=None, deleting=False, **status):
    """A kernel that came `number` seconds after the others."""
    item = {
        "metadata": {
            "name": f"kernel-{number}",
            "uid": f"u{number}",
            "creationTimestamp": (NOW + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {"owner": owner, "kernelSpecName": "gpu"},
    }
    if incarnation is not None:
        item["spec"]["incarnation"] = incarnation
    if deleting:
        item["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
    if state != "new":
        admitted = "False" if state == "Refused" else "True"
        item["status"] = {
            "phase": state,
            "incarnation": 0,
            "conditions": [{"type": "Admitted", "status": admitted}],
            **status,
        }
    return item


def decide(new, *others, limit=2, assumed=()):
    return quota.decide(new, others, limit=limit, assumed=assumed, now=NOW)


CASES = {
    "nobody else": ([], True),
    "itself in the list": ([kernel(9)], True),
    "one running": ([kernel(1, state="Running")], True),
    "two running": ([kernel(1, state="Running"), kernel(2, state="Running")], False),
    "pending ones count": ([kernel(1, state="Pending"), kernel(2, state="Starting")], False),
    "those before it count": ([kernel(1), kernel(2)], False),
    "those after it don't": ([kernel(10), kernel(11)], True),
    "those that ended don't": (
        [kernel(n, state=s) for n, s in enumerate(("Failed", "Succeeded", "Refused", "Culled"))],
        True,
    ),
    "those being deleted don't": (
        [kernel(n, state="Running", deleting=True) for n in (1, 2)],
        True,
    ),
    "a restart holds its place": (
        [kernel(n, state="Running", incarnation=1) for n in (1, 2)],
        False,
    ),
    "a restart after the end waits in line": (
        [kernel(n, state="Failed", incarnation=1) for n in (1, 2)],
        False,
    ),
}


@pytest.mark.parametrize(("others", "admitted"), CASES.values(), ids=CASES.keys())
def test_decide(others, admitted):
    decision = decide(kernel(9), *others)
    assert decision.admitted is admitted
    assert decision.reason == ("WithinQuota" if admitted else "QuotaExceeded")


def test_those_just_admitted_count():
    others = [kernel(20), kernel(21)]  # later ones, whose status does not show it yet
    assert decide(kernel(9), *others).admitted
    assert not decide(kernel(9), *others, assumed={"u20", "u21"}).admitted
    assert decide(kernel(9), *others, assumed={"u20", "u9"}).admitted


def test_a_kernel_without_owner_is_nobodys():
    item = kernel(1)
    del item["spec"]["owner"]
    assert decide(item, limit=0).admitted


def test_the_refusal_says_what_there_is_and_what_to_do():
    idle = {"executionState": "idle", "idleSince": "2030-01-01T11:55:00Z"}
    decision = decide(
        kernel(9),
        kernel(1, state="Running", activity=idle),
        kernel(2, state="Running", activity={"executionState": "busy"}),
        limit=2,
    )
    assert decision.message == (
        "Kernel quota reached: alice may have 2 kernels, and these are there: "
        "kernel-1 (gpu, idle 5 min), kernel-2 (gpu, busy). "
        "Shut one down in JupyterLab (Running Terminals and Kernels) and start again."
    )


def test_the_refusal_for_one_and_for_none():
    one = decide(kernel(9), kernel(1, state="Pending"), limit=1).message
    assert "alice may have 1 kernel, and this one is there: kernel-1 (gpu, starting)." in one
    assert "alice may have no kernels" in decide(kernel(9), limit=0).message


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h"), (-3, "0 s")]
)
def test_durations(seconds, text):
    since = (NOW - timedelta(seconds=seconds)).isoformat()
    idle = {"executionState": "idle", "idleSince": since}
    message = decide(kernel(9), kernel(1, state="Running", activity=idle), limit=1).message
    assert f"idle {text})" in message


@given(
    limit=st.integers(0, 4),
    order=st.permutations(range(7)),
    held=st.integers(0, 5),
    late=st.sets(st.integers(0, 6)),
)
def test_whatever_the_order_the_limit_is_used_and_never_passed(limit, order, held, late):
    """Kernels are decided in any order; some see their status late, so others rely on `assumed`."""
    kernels = {n: kernel(n) for n in range(7)}
    kernels.update({100 + n: kernel(100 + n, state="Running") for n in range(held)})
    assumed, admitted = set(), []
    for number in order:
        decision = quota.decide(
            kernels[number], kernels.values(), limit=limit, assumed=assumed, now=NOW
        )
        if decision.admitted:
            admitted.append(number)
            assumed.add(f"u{number}")
        if not decision.admitted or number not in late:
            status = status_of_admission(
                kernels[number],
                admitted=decision.admitted,
                reason=decision.reason,
                message=decision.message,
                now=NOW,
            )
            kernels[number]["status"] = {k: v for k, v in status.items() if v is not None}
    assert sorted(admitted) == list(range(max(min(limit - held, 7), 0)))  # first come, first served
    counted = [k for k in kernels.values() if is_admitted(k)]
    assert all(is_decided(kernels[n]) or n in late for n in order)
    assert len(counted) <= max(limit, held)
