"""An idle kernel is kept for longer: for how long, and how many times."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hub_service import timestamps
from hub_service.culling import Confirm, Policy, decide
from hub_service.culling import activity as activities
from hub_service.culling.keeping import Kept, NotKept, keep, status_of_kept
from tests.unit.service.kernels import with_status

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
RULES = Policy(
    idle_timeout=600, extension=300, extensions=2, sources={"extensions": "the settings' culling"}
)
RUNNING = {"type": "Running", "status": "True", "reason": "Answering"}


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def stamp(moment):
    return moment.isoformat()


def idle(since=-100, started=-10_000, **status):
    """A kernel that is idle since then, in seconds from NOW."""
    moment = stamp(at(since))
    return {
        "spec": {},
        "status": {
            "phase": "Running",
            "startTime": stamp(at(started)),
            "conditions": [RUNNING],
            "activity": {"executionState": "idle", "idleSince": moment, "lastActivity": moment},
            **status,
        },
    }


def kept(kernel, policy, now):
    """The kernel after it was kept."""
    granted = keep(kernel, policy, now)
    assert isinstance(granted, Kept), granted
    return with_status(kernel, status_of_kept(granted, now))


def works(kernel, until):
    return with_status(kernel, {"activity": idle(until)["status"]["activity"]})


def test_the_deadline_moves_by_an_extension():
    assert keep(idle(), RULES, NOW) == Kept(at(500 + 300), 1, 1)


def test_too_late():
    assert isinstance(keep(idle(-599), RULES, NOW), Kept)
    for since in (-599.5, -600, -700):
        assert "is being ended" in keep(idle(since), RULES, NOW).message


def test_as_often_as_the_rules_let():
    item = kept(kept(idle(), RULES, NOW), RULES, at(1))
    refused = keep(item, RULES, at(2))
    assert isinstance(refused, NotKept)
    assert "2 times at most (by the settings' culling)" in refused.message
    assert "not at all" in keep(idle(), replace(RULES, extensions=0), NOW).message


def test_decide_takes_it():
    item = kept(idle(-599), RULES, NOW)
    activity = activities.of(item)
    assert not isinstance(decide(item, activity, RULES, None, at(300)), Confirm)
    assert isinstance(decide(item, activity, RULES, None, at(301)), Confirm)


def test_the_count_begins_anew_after_work():
    item = works(kept(kept(idle(), RULES, NOW), RULES, at(1)), 50)
    assert keep(works(item, 600), RULES, at(610)) == Kept(at(600 + 600 + 300), 1, 1)


def test_whoever_begins_anew_has_no_more_in_advance_than_others():
    item = works(kept(kept(idle(), RULES, NOW), RULES, at(1)), 50)
    again = kept(item, RULES, at(60))
    assert again["status"]["culling"]["keptUntil"] == timestamps.microseconds(
        at(50 + 600 + 2 * 300)
    )
    assert isinstance(keep(works(again, 60), RULES, at(70)), Kept)
    much = kept(works(again, 60), RULES, at(70))
    assert isinstance(keep(much, RULES, at(71)), NotKept)


def test_what_is_granted_for_idleness_does_not_put_off_the_maximum_age():
    rules = replace(RULES, max_age=10_700)
    assert keep(idle(), rules, NOW) == Kept(at(700), 1, 1)
    late = kept(idle(), rules, NOW)
    assert keep(late, rules, NOW) == Kept(at(700 + 300), 2, 0)  # its age is what ends it now


def test_work_is_no_way_round_the_maximum_age():
    rules = replace(RULES, max_age=10_100)
    item = works(kept(kept(idle(), rules, NOW), rules, at(1)), 50)
    assert isinstance(keep(item, rules, at(60)), NotKept)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (idle(phase="Failed"), "doesn't run"),
        (idle(activity={"executionState": "busy"}), "busy"),
        (idle(activity={}), "activity unknown"),
    ],
)
def test_where_there_is_nothing_to_put_off(item, words):
    refused = keep(item, RULES, NOW)
    assert isinstance(refused, NotKept)
    assert words in refused.message


def test_where_no_rule_ends_it():
    assert "no rule does" in keep(idle(), replace(RULES, idle_timeout=None), NOW).message
