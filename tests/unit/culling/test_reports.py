"""Which reports of a kernel's activity say no more than that its end is later."""

from datetime import UTC, datetime, timedelta

import pytest

from hub_service import culling

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def reported(status=None, spec=None, version="2", **activity):
    said = {"executionState": "idle", "lastActivity": ago(5), "idleSince": ago(5)} | activity
    return {
        "metadata": {"name": "kernel-a", "resourceVersion": version},
        "spec": {"owner": "alice", **(spec or {})},
        "status": {"phase": "Running", "activity": said, **(status or {})},
    }


BEFORE = reported(version="1", lastActivity=ago(60), idleSince=ago(60))


@pytest.mark.parametrize(
    "after",
    [
        reported(),
        reported(lastActivity=ago(60)),  # idle since later
        reported(lastActivity=ago(60), idleSince=ago(60), connectionsByPod={"g-1": 3}),
    ],
)
def test_reports_that_put_an_end_off(after):
    assert culling.only_puts_off(BEFORE, after)


@pytest.mark.parametrize(
    "after",
    [
        reported(executionState="busy", idleSince=None),
        reported(heartbeatLostByPod={"g-1": ago(1)}),
        reported(debuggingByPod={"g-1": True}),
        reported(lastActivity=ago(90), idleSince=ago(90)),  # sooner than was known
        reported(lastActivity=None, idleSince=None),
        reported(status={"phase": "Failed"}),
        reported(status={"conditions": []}),
        reported(spec={"incarnation": 1}),
        reported() | {"metadata": {"name": "kernel-a", "deletionTimestamp": ago(0)}},
    ],
)
def test_changes_that_say_more(after):
    assert not culling.only_puts_off(BEFORE, after)
    assert not culling.only_puts_off(reported(lastActivity=None, idleSince=None), after)


def test_a_notebook_that_is_closed():
    """Its rules may let an open notebook keep it, and that is over now."""
    open_before = reported(version="1", lastActivity=ago(60), connectionsByPod={"g-1": 1})
    assert not culling.only_puts_off(open_before, reported(connectionsByPod={}))
    assert culling.only_puts_off(open_before, reported(connectionsByPod={"g-2": 2}))


def test_all_of_a_kernel_whose_user_was_warned():
    """The warning is to be taken back."""
    noted = {"culling": {"warnedAt": ago(1)}}
    warned = reported(noted, version="1", lastActivity=ago(60), idleSince=ago(60))
    assert not culling.only_puts_off(warned, reported(noted))
