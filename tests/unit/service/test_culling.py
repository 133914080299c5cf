"""When an idle kernel is asked about."""

from datetime import UTC, datetime, timedelta

import pytest

from hub_service import culling
from hub_service.culling import Confirm, Keep, Policy, Rules
from hub_service.culling import activity as activities
from hub_service.culling import policy as policies

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
TEN = Policy(10)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def kernel(phase="Running", state="idle", last=None, idle=None, started=None, **spec):
    activity = {"executionState": state}
    if last is not None:
        activity["lastActivity"] = ago(last)
    if idle is not None:
        activity["idleSince"] = ago(idle)
    status = {"phase": phase, "activity": activity}
    if started is not None:
        status["startTime"] = ago(started)
    return {"spec": spec, "status": status}


ASKED = {
    "idle for long": kernel(last=11, idle=11),
    "at the very moment": kernel(last=10, idle=10),
    "only the last activity known": kernel(last=11),
    "only the idle time known": kernel(idle=11),
}
KEPT_UNTIL = {  # seconds from now
    "idle for a moment": (kernel(last=3, idle=3), 7),
    "the later of the two counts": (kernel(last=4, idle=11), 6),
    "and so does the start": (kernel(last=100, idle=100, started=2), 8),
    "activity in the future, by another clock": (kernel(last=-5, idle=-5), 15),
}
KEPT = {
    "busy for ever": kernel(state="busy", last=10_000),
    "starting": kernel(state="starting", last=10_000),
    "a state of tomorrow": kernel(state="debugging", last=10_000, idle=10_000),
    "idle, but since when": kernel(),
    "nothing known": {"spec": {}, "status": {"phase": "Running"}},
    "no status": {"spec": {}},
    **{
        f"phase {phase}": kernel(phase, last=100, idle=100)
        for phase in ("Pending", "Starting", "Failed", "Succeeded", "Culled", "Refused")
    },
}


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
        reported(lastActivity=ago(60), idleSince=ago(60), connections=3),
    ],
)
def test_reports_that_put_an_end_off(after):
    assert culling.only_puts_off(BEFORE, after)


@pytest.mark.parametrize(
    "after",
    [
        reported(executionState="busy", idleSince=None),
        reported(heartbeatLostByPod={"g-1": ago(1)}),
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


def decide(item, policy=TEN, demand=None, now=NOW):
    return culling.decide(item, activities.of(item), policy, demand, now)


@pytest.mark.parametrize("item", ASKED.values(), ids=ASKED.keys())
def test_asked(item):
    verdict = decide(item)
    assert isinstance(verdict, Confirm)
    assert verdict.idle_before == NOW - timedelta(seconds=10)
    assert verdict.reason == "Idle"


@pytest.mark.parametrize(("item", "seconds"), KEPT_UNTIL.values(), ids=KEPT_UNTIL.keys())
def test_kept_until(item, seconds):
    verdict = decide(item)
    assert isinstance(verdict, Keep)
    assert verdict.until == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("item", KEPT.values(), ids=KEPT.keys())
def test_kept(item):
    verdict = decide(item)
    assert isinstance(verdict, Keep)
    assert verdict.until is None
    assert verdict.reason


def test_never_is_never():
    verdict = decide(kernel(last=10_000, idle=10_000), Policy(None, sources={"idle_timeout": "x"}))
    assert verdict == Keep(None, "never (by x)")


@pytest.mark.parametrize(
    ("own", "gateways", "default", "seconds", "source"),
    [
        (1, 2, 3, 1, "the kernel's"),
        (None, 2, 3, 2, "JupyterGateway shared"),
        (None, None, 3, 3, "the settings' culling"),
        (0, 2, 3, None, "the kernel's"),
        (-1, 2, 3, None, "the kernel's"),
        (None, 0, 3, None, "JupyterGateway shared"),
        (None, None, 0, None, "the settings'"),
        (5, 0, 0, 5, "the kernel's"),
    ],
)
def test_precedence(own, gateways, default, seconds, source):
    item = kernel(**({} if own is None else {"cullIdleTimeout": own}))
    gateway = {
        "metadata": {"name": "shared"},
        "spec": {} if gateways is None else {"cullIdleTimeout": gateways},
    }
    policy = policies.of_kernel(
        item,
        spec=None,
        template=None,
        gateway=gateway,
        groups=(),
        rules=Rules({"idleTimeout": default}),
    )
    assert policy.idle_timeout == seconds
    assert source in policy.sources["idle_timeout"]
