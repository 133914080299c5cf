"""What becomes of a kernel, by what its gateway was told, its rules, and who waits."""

from dataclasses import replace
from datetime import timedelta

import pytest

from hub_service.culling import Confirm, Demand, Keep, Policy, Warn, decide, record
from hub_service.culling import activity as activities
from hub_service.culling.decide import ends_at, reclaimable_from
from tests.unit.culling.gateway import START, Gateway, a_kernel, at

# Idle for 100 s, and its user is told 20 s before.
RULES = Policy(
    idle_timeout=100, warning=20, extension=50, extensions=2, sources={"idle_timeout": "the test"}
)
NEVER = replace(RULES, idle_timeout=None)
OPEN = replace(RULES, connected=True)
AGED = replace(RULES, max_age=1000)
RECLAIMED = replace(RULES, reclaim_after=10)
SOMEBODY = Demand(START, "another start waits for 1 GPU")
YEAR = 365 * 24 * 3600


def new():
    """A kernel that answered after a second."""
    return Gateway().answered(1)


def verdict_of(gateway, second, rules=RULES, demand=None, **kernel):
    item = a_kernel(gateway.reported, **kernel)
    return decide(item, activities.of(item), rules, demand, at(second))


def is_kept(verdict):
    return verdict.until if isinstance(verdict, Keep) else None


NOT_IDLE = {
    "it starts": (Gateway(), "starting"),
    "a cell was sent": (new().sent(2, "execute_request"), "busy"),
    "a cell runs, and says nothing for a year": (new().asked(2, "execute_request"), "busy"),
    "a cell runs, and was interrupted in vain": (
        new().asked(2, "execute_request").did(3, "interrupt_request"),
        "busy",
    ),
    "one of two cells is done": (
        new()
        .sent(2, "execute_request", "a")
        .sent(2, "execute_request", "b")
        .published(3, "status", "execute_request", "a", "busy")
        .published(4, "status", "execute_request", "a", "idle"),
        "busy",
    ),
    "a widget's answer is computed": (new().asked(2, "comm_msg"), "busy"),
    "it waits for input": (
        new().asked(2, "execute_request").published(3, "stream", "execute_request"),
        "busy",
    ),
    "its gateway has just taken it over": (new().did(2).revived(3), "busy"),
    "a debugger is attached": (new().did(2).sent(3, "debug_request", "", "attach"), "debugged"),
    "its heart is silent": (new().did(2).silent(3), "not answering"),
}


@pytest.mark.parametrize(("gateway", "because"), NOT_IDLE.values(), ids=NOT_IDLE)
@pytest.mark.parametrize("demand", [None, SOMEBODY])
def test_what_is_not_idle_is_never_ended(gateway, because, demand):
    rules = replace(RULES, idle_timeout=1, max_age=1, reclaim_after=1)
    verdict = verdict_of(gateway, YEAR, rules, demand)
    assert isinstance(verdict, Warn)  # of its age only
    assert verdict.until is None
    item = a_kernel(gateway.reported)
    assert because in activities.of(item).occupation
    assert reclaimable_from(item, activities.of(item), rules) is None
    kept = decide(item, activities.of(item), replace(rules, max_age=None), demand, at(YEAR))
    assert isinstance(kept, Keep)
    assert kept.until is None
    assert because in kept.reason
    assert not gateway.may_seal(at(YEAR))


UNKNOWN = {
    "nothing is reported": {},
    "a state of tomorrow": {"executionState": "pondering", "idleSince": "2030-01-01T12:00:02Z"},
    "idle, but since when is not said": {"executionState": "idle"},
}


@pytest.mark.parametrize("reported", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_is_not_idle(reported):
    item = a_kernel(reported)
    assert is_kept(decide(item, activities.of(item), RULES, SOMEBODY, at(YEAR))) is None


def test_a_report_on_the_process_before_says_nothing_of_the_one_that_starts():
    gateway = new().did(2)
    item = a_kernel(gateway.reported, incarnation=1, started=at(10))
    assert activities.of(item).occupation == "starting"
    assert isinstance(decide(item, activities.of(item), RULES, SOMEBODY, at(YEAR)), Keep)


@pytest.mark.parametrize(
    "phase", ["Pending", "Starting", "Failed", "Succeeded", "Culled", "Refused"]
)
def test_only_what_runs_is_ended(phase):
    assert verdict_of(new(), YEAR, AGED, SOMEBODY, phase=phase) == Keep(None, "not running")


COUNTS = {
    "a cell": new().did(50),
    "a widget": new().did(50, "comm_msg"),
    "what a widget answers by itself": new().published(50, "comm_msg", "execute_request"),
    "output of a thread that a cell has left": new().published(50, "stream", "execute_request"),
    "an answer to input()": new().sent(50, "input_reply"),
    "completion, by somebody who types": new().did(50, "complete_request"),
    "a step in the debugger": new()
    .sent(2, "debug_request", "", "attach")
    .sent(50, "debug_request", "", "disconnect"),
}
DOES_NOT = {
    "a tab that is open": new().connected(3),
    "a tab that asks what the kernel is": new().did(50, "kernel_info_request"),
    "a tab that asks for widgets": new().did(50, "comm_info_request"),
    "a tab that asks for the history": new().did(50, "history_request"),
    "a tab that shows the kernel's memory": new().did(50, "usage_request"),
    "a tab that asks for a subshell": new().did(50, "create_subshell_request"),
    "a tab that asks about the debugger": new().sent(50, "debug_request", "", "debugInfo"),
    "a tab that is closed": new().connected(1).left(50),
    "somebody who subscribes": new().published(50, "iopub_welcome", ""),
}


@pytest.mark.parametrize("gateway", COUNTS.values(), ids=COUNTS)
def test_activity(gateway):
    assert is_kept(verdict_of(gateway, 101)) == at(130)
    assert isinstance(verdict_of(gateway, 150), Confirm)


@pytest.mark.parametrize("gateway", DOES_NOT.values(), ids=DOES_NOT)
def test_no_activity(gateway):
    assert is_kept(verdict_of(gateway, 80)) == at(81)
    assert isinstance(verdict_of(gateway, 101), Confirm)


def test_kept_then_warned_then_asked_about():
    assert is_kept(verdict_of(new(), 1)) == at(81)
    assert is_kept(verdict_of(new(), 80.9)) == at(81)
    warned = verdict_of(new(), 81)
    assert isinstance(warned, Warn)
    assert (warned.deadline, warned.until, warned.reason) == (at(101), at(101), "Idle")
    assert "12:01:41" in warned.message
    assert isinstance(verdict_of(new(), 100.9), Warn)
    over = verdict_of(new(), 101)
    assert isinstance(over, Confirm)
    assert over.reason == "Idle"
    assert over.idle_before == at(1)
    assert "100 s" in over.message
    assert "the test" in over.message
    assert new().may_seal(over.idle_before)


def test_what_the_gateway_accepts_before_it_is_asked_keeps_the_kernel():
    over = verdict_of(new(), 101)
    assert not new().sent(100.9, "execute_request").may_seal(over.idle_before)
    assert not new().did(100.9).may_seal(over.idle_before)


def test_no_warning_where_none_is_wanted():
    quiet = replace(RULES, warning=0)
    assert is_kept(verdict_of(new(), 100.9, quiet)) == at(101)
    assert isinstance(verdict_of(new(), 101, quiet), Confirm)


def test_no_warning_in_the_first_half_of_the_time():
    early = replace(RULES, warning=99)
    assert is_kept(verdict_of(new(), 50.9, early)) == at(51)
    assert isinstance(verdict_of(new(), 51, early), Warn)


def test_never():
    assert verdict_of(new(), YEAR, NEVER) == Keep(None, "never (by the test)")


class TestAnOpenNotebook:
    def test_keeps_the_kernel_where_the_rules_say_so(self):
        gateway = new().connected(1)
        assert verdict_of(gateway, YEAR, OPEN) == Keep(None, "a notebook is open")
        assert isinstance(verdict_of(gateway, YEAR, RULES), Confirm)

    def test_and_from_whoever_waits(self):
        rules = replace(OPEN, reclaim_after=1)
        assert verdict_of(new().connected(1), YEAR, rules, SOMEBODY).until is None
        assert isinstance(verdict_of(new().left(2), YEAR, rules, SOMEBODY), Confirm)

    def test_until_it_is_closed_and_as_long_again(self):
        gateway = new().connected(1).left(500)
        assert is_kept(verdict_of(gateway, 501, OPEN)) == at(580)
        over = verdict_of(gateway, 600, OPEN)
        assert isinstance(over, Confirm)
        assert over.unless_connected  # one may be opened in this moment

    def test_but_not_beyond_its_maximum_age(self):
        aged = replace(OPEN, max_age=1000)
        assert verdict_of(new().connected(1), 1000, aged).reason == "MaximumAge"


class TestMaximumAge:
    def test_notice_then_the_end_at_once_when_idle(self):
        gateway = new().did(970)
        assert is_kept(verdict_of(gateway, 971, AGED)) == at(980)
        notice = verdict_of(gateway, 980, AGED)
        assert (notice.deadline, notice.reason) == (at(1000), "MaximumAge")
        over = verdict_of(gateway, 1000, AGED)
        assert (over.reason, over.idle_before) == ("MaximumAge", at(990))
        assert gateway.may_seal(over.idle_before)
        assert "1000 s" in over.message

    def test_a_busy_one_gets_notice_and_ends_when_it_is_done(self):
        gateway = new().asked(900, "execute_request")
        assert is_kept(verdict_of(gateway, 901, AGED)) == at(980)
        notice = verdict_of(gateway, 980, AGED)
        assert (notice.deadline, notice.until) == (at(1000), None)
        assert isinstance(verdict_of(gateway, YEAR, AGED), Warn)
        gateway.published(5000, "status", "execute_request", state="idle")
        pauses = verdict_of(gateway, 5009.9, AGED)  # the next cell may be on its way
        assert (pauses.deadline, pauses.until) == (at(1000), at(5010))
        over = verdict_of(gateway, 5010, AGED)
        assert (over.reason, over.idle_before) == ("MaximumAge", at(5000))

    def test_no_word_of_it_where_nobody_is_told(self):
        gateway = new().asked(900, "execute_request")
        assert is_kept(verdict_of(gateway, 999, replace(AGED, warning=0))) is None

    def test_whichever_end_comes_first(self):
        assert verdict_of(new(), 101, AGED).reason == "Idle"
        assert verdict_of(new(), 101, replace(AGED, max_age=50)).reason == "MaximumAge"

    def test_notice_of_it_stays_though_another_end_comes_first(self):
        brief = replace(AGED, idle_timeout=4, warning=100)
        assert verdict_of(new().asked(890, "comm_msg"), 901, brief).reason == "MaximumAge"
        notice = verdict_of(new().did(905), 906, brief)
        assert (notice.reason, notice.until) == ("MaximumAge", at(907))
        idle = verdict_of(new().did(905), 907, brief)
        assert (idle.reason, idle.deadline, idle.until) == ("Idle", at(909), at(909))

    def test_a_kernel_of_unknown_age_is_young(self):
        item = a_kernel(new().asked(2, "execute_request").reported)
        del item["status"]["startTime"]
        assert isinstance(decide(item, activities.of(item), AGED, None, at(YEAR)), Keep)


class TestReclaim:
    def test_at_once_where_somebody_waits(self):
        over = verdict_of(new(), 11, RECLAIMED, SOMEBODY)
        assert (over.reason, over.idle_before) == ("Reclaimed", at(1))
        assert "another start waits for 1 GPU" in over.message

    def test_not_where_nobody_does(self):
        assert is_kept(verdict_of(new(), 11, RECLAIMED)) == at(81)

    def test_not_before_its_minimum(self):
        assert is_kept(verdict_of(new(), 10.9, RECLAIMED, SOMEBODY)) == at(11)

    def test_not_where_the_rules_exclude_it(self):
        assert is_kept(verdict_of(new(), 11, RULES, SOMEBODY)) == at(81)

    def test_not_what_its_user_keeps(self):
        kept = {"keptUntil": at(60).isoformat(), "keptAt": at(5).isoformat(), "extensions": 1}
        assert is_kept(verdict_of(new(), 11, RECLAIMED, SOMEBODY, culling=kept)) == at(60)
        assert verdict_of(new(), 60, RECLAIMED, SOMEBODY, culling=kept).reason == "Reclaimed"

    def test_when_it_can_be(self):
        item = a_kernel(new().reported)
        assert reclaimable_from(item, activities.of(item), RECLAIMED) == at(11)
        assert reclaimable_from(item, activities.of(item), RULES) is None


# Asked for at 90; without that it would end at 101.
NOTED = {"keptUntil": at(200).isoformat(), "keptAt": at(90).isoformat(), "extensions": 1}


class TestKept:
    def test_for_so_long(self):
        assert is_kept(verdict_of(new(), 150, culling=NOTED)) == at(180)
        assert verdict_of(new(), 180, culling=NOTED).deadline == at(200)
        assert isinstance(verdict_of(new(), 200, culling=NOTED), Confirm)

    def test_not_where_the_rules_no_longer_let(self):
        strict = replace(RULES, extensions=0)
        assert isinstance(verdict_of(new(), 101, strict, culling=NOTED), Confirm)

    def test_as_long_as_was_said_though_it_works_again(self):
        item = a_kernel(new().did(95).reported, culling=NOTED)
        assert ends_at(item, activities.of(item), RULES) == at(200)
        item = a_kernel(new().did(195).reported, culling=NOTED)
        assert ends_at(item, activities.of(item), RULES) == at(295)

    def test_whoever_keeps_it_beyond_its_maximum_age_cannot_begin_anew(self):
        item = a_kernel(new().did(120).reported, culling=NOTED)
        activity = activities.of(item)
        assert record.of(item, activity, RULES).extensions == 0
        assert record.of(item, activity, replace(RULES, max_age=110)).extensions == 1


def test_an_end_is_told_as_it_comes():
    item = a_kernel(new().reported)
    assert ends_at(item, activities.of(item), RULES) == at(101)
    assert ends_at(item, activities.of(item), NEVER) is None
    assert ends_at(item, activities.of(item), replace(RULES, max_age=50)) == at(50)
    busy = a_kernel(new().asked(2, "execute_request").reported)
    assert ends_at(busy, activities.of(busy), RULES) is None
    assert ends_at(busy, activities.of(busy), AGED) == at(1000)


def test_clocks_that_disagree_put_an_end_off():
    """The gateway's clock is ahead: what it reports lies in the future."""
    verdict = verdict_of(new().did(30), 20)
    assert verdict.until == at(30) + timedelta(seconds=80)
