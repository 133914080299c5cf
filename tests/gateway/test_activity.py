"""When a kernel is busy, idle, or may be sealed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway.activity import Activity

START = datetime(2026, 1, 1, tzinfo=UTC)


def header(kind: str, message_id: str = "", **more: str) -> dict[str, Any]:
    return {"msg_type": kind, "msg_id": message_id or kind, **more}


class History:
    """A kernel's messages, one a second."""

    def __init__(self) -> None:
        self.now = START
        self.activity: Activity = activities.started(START)

    def passed_on(self, kind: str, message_id: str = "", command: str = "") -> History:
        self.now += timedelta(seconds=1)
        self.activity = activities.passed_on(
            self.activity, header(kind, message_id), self.now, command
        )
        return self

    def debugger(self, command: str) -> History:
        self.passed_on("debug_request", command=command)
        self.status("busy", "debug_request")
        return self.status("idle", "debug_request")

    def left(self) -> History:
        self.now += timedelta(seconds=1)
        self.activity = activities.left(self.activity, self.now)
        return self

    def status(self, state: str, kind: str, message_id: str = "", **more: str) -> History:
        return self.published("status", header(kind, message_id, **more), state)

    def published(self, kind: str, parent: dict[str, Any], state: str | None = None) -> History:
        self.now += timedelta(seconds=1)
        self.activity = activities.published(self.activity, kind, parent, state, self.now)
        return self

    def answered(self) -> History:
        self.now += timedelta(seconds=1)
        self.activity = activities.answered(self.activity, self.now)
        return self

    def ran(self, message_id: str) -> History:
        self.passed_on("execute_request", message_id)
        self.status("busy", "execute_request", message_id)
        return self.status("idle", "execute_request", message_id)

    @property
    def state(self) -> str:
        return self.activity.execution_state


STATES = [
    ("a new kernel", History(), "starting"),
    ("says starting", History().status("starting", ""), "starting"),
    ("answers a tab", History().status("idle", "kernel_info_request"), "starting"),
    ("answers the gateway", History().status("idle", "kernel_info_request").answered(), "idle"),
    ("a cell is accepted", History().passed_on("execute_request"), "busy"),
    ("a cell runs", History().status("busy", "execute_request"), "busy"),
    ("a cell is done", History().ran("a"), "idle"),
    (
        "a cell that was begun before it was heard prints",
        History().published("stream", header("execute_request")),
        "starting",
    ),
    (
        "a subshell answers beside such a cell",
        History()
        .published("comm_msg", header("comm_msg", subshell_id="s"))
        .status("busy", "comm_msg", subshell_id="s")
        .status("idle", "comm_msg", subshell_id="s"),
        "starting",
    ),
    (
        "a cell that was begun before it was heard is done",
        History().published("stream", header("execute_request")).status("idle", "execute_request"),
        "idle",
    ),
    (
        "two accepted, one done",
        History()
        .passed_on("execute_request", "a")
        .passed_on("execute_request", "b")
        .status("busy", "execute_request", "a")
        .status("idle", "execute_request", "a"),
        "busy",
    ),
    (
        "interrupted, but still at it",
        History()
        .passed_on("execute_request", "a")
        .status("busy", "execute_request", "a")
        .status("busy", "interrupt_request")
        .status("idle", "interrupt_request"),
        "busy",
    ),
    (
        "a widget answers beside the cell",
        History()
        .status("busy", "execute_request", "a")
        .status("busy", "comm_msg", "b", subshell_id="s")
        .status("idle", "comm_msg", "b", subshell_id="s"),
        "busy",
    ),
    (
        "the idle of an earlier cell was lost",
        History().status("busy", "execute_request", "a").ran("b"),
        "idle",
    ),
    ("somebody subscribes", History().published("iopub_welcome", {}), "starting"),
    ("completion", History().ran("a").status("busy", "complete_request"), "busy"),
]


@pytest.mark.parametrize(
    ("history", "state"), [case[1:] for case in STATES], ids=[case[0] for case in STATES]
)
def test_the_state(history: History, state: str) -> None:
    assert history.state == state
    assert (history.activity.idle_since is not None) == (state == "idle")


def test_a_reply_that_a_client_saw_ends_the_cell() -> None:
    history = History().passed_on("execute_request", "a").status("busy", "execute_request", "a")
    done = activities.done(history.activity, header("execute_request", "a"), history.now)
    assert done.execution_state == "idle"
    assert activities.done(done, header("execute_request", "a"), START) == done


PASSIVE = [
    "kernel_info_request",
    "comm_info_request",
    "history_request",
    "connect_request",
    "create_subshell_request",
    "usage_request",
]


@pytest.mark.parametrize("kind", PASSIVE)
def test_what_an_open_tab_sends_is_no_activity(kind: str) -> None:
    history = History().ran("a")
    before = history.activity
    history.passed_on(kind).status("busy", kind).published("stream", header(kind))
    history.status("idle", kind)
    assert history.activity == before


@pytest.mark.parametrize("kind", ["comm_msg", "complete_request", "input_reply", "debug_request"])
def test_what_people_do_is(kind: str) -> None:
    history = History().ran("a").passed_on(kind)
    assert history.activity.last_activity == history.now


def test_a_tab_that_asks_whether_there_is_a_debugger_is_no_activity() -> None:
    history = History().ran("a")
    before = history.activity
    assert history.debugger("debugInfo").activity == before


def test_a_kernel_with_a_debugger_may_not_be_sealed() -> None:
    history = History().ran("a").debugger("initialize").debugger("attach")
    later = history.now + timedelta(days=1)
    assert history.state == "idle"
    assert not activities.may_seal(history.activity, later)
    reported = activities.status(history.activity, 1, process="gateway-1")
    assert reported["debuggingByPod"] == {"gateway-1": True}
    assert not history.debugger("disconnect").activity.debugging
    assert activities.may_seal(history.activity, later)


def test_a_debugger_ends_with_the_last_tab_and_the_kernel_is_idle_from_then() -> None:
    history = History().ran("a").debugger("attach").left()
    assert history.activity.last_activity == history.now
    assert activities.may_seal(history.activity, history.now)
    before = history.left().activity.last_activity
    assert history.left().activity.last_activity == before  # no debugger: a tab is no activity


def test_when_the_last_tab_went() -> None:
    history = History().ran("a").left()
    left = activities.status(history.activity, 0)["lastConnected"]
    assert left == "2026-01-01T00:00:04.000000Z"
    later = history.now + timedelta(hours=1)
    elsewhere = activities.status(history.activity, 0, left_elsewhere=later)
    assert elsewhere["lastConnected"] == "2026-01-01T01:00:04.000000Z"
    assert "lastConnected" not in activities.status(History().ran("a").activity, 0)


def test_a_cell_that_asks_its_user_is_busy_until_it_is_answered() -> None:
    history = History().passed_on("execute_request", "a").status("busy", "execute_request", "a")
    assert history.state == "busy"
    assert history.passed_on("input_reply").state == "busy"
    assert history.status("idle", "execute_request", "a").state == "idle"


def test_the_cell_that_ran_last_is_known() -> None:
    assert History().activity.cell == {}
    assert History().ran("a").ran("b").activity.cell["msg_id"] == "b"


def test_an_end_belongs_to_the_oldest_cell_that_is_not_done() -> None:
    history = History().ran("a").passed_on("execute_request", "b")
    assert history.activity.cell["msg_id"] == "b"  # whether or not the kernel's `busy` was seen
    history.passed_on("execute_request", "c").status("busy", "execute_request", "b")
    assert history.activity.cell["msg_id"] == "b"
    assert history.status("idle", "execute_request", "b").activity.cell["msg_id"] == "c"


def test_an_idle_kernel_may_be_sealed_once_its_time_is_up() -> None:
    history = History().ran("a")
    assert activities.may_seal(history.activity, history.now)
    assert not activities.may_seal(history.activity, history.now - timedelta(microseconds=1))


@pytest.mark.parametrize(
    "history",
    [
        History(),
        History().ran("a").passed_on("execute_request", "b"),
        History().ran("a").status("busy", "comm_msg"),
    ],
)
def test_any_other_may_not(history: History) -> None:
    assert not activities.may_seal(history.activity, START + timedelta(days=1))


def test_what_is_reported() -> None:
    idle = History().ran("a").activity
    assert activities.status(idle, 2, elsewhere=1, process="gateway-1") == {
        "executionState": "idle",
        "lastActivity": "2026-01-01T00:00:03.000000Z",
        "idleSince": "2026-01-01T00:00:03.000000Z",
        "connections": 3,
        "connectionsByPod": {"gateway-1": 2},
        "heartbeatLostByPod": {"gateway-1": None},
        "debuggingByPod": {"gateway-1": None},
    }
    lost = activities.status(idle, 2, datetime(2026, 1, 1, tzinfo=UTC), process="gateway-1")
    assert lost["heartbeatLostByPod"] == {"gateway-1": "2026-01-01T00:00:00.000000Z"}


def test_reports_that_say_nothing_new_are_left_out() -> None:
    history = History().ran("a")
    first = activities.status(history.activity, 0)
    later = activities.status(history.passed_on("comm_msg").activity, 0)
    much_later = {**later, "lastActivity": "2026-01-01T00:00:13.000000Z"}
    assert activities.worth_reporting(None, first)
    assert not activities.worth_reporting(None, activities.status(History().activity, 0))
    assert activities.worth_reporting(None, activities.status(History().activity, 1))
    assert activities.worth_reporting(first, activities.status(History().activity, 0))
    assert not activities.worth_reporting(first, later)
    assert activities.worth_reporting(first, much_later)
    assert activities.worth_reporting(first, activities.status(history.activity, 1))
    assert activities.worth_reporting(
        first, activities.status(history.passed_on("execute_request").activity, 0)
    )


IDLE_BEFORE = {
    "executionState": "idle",
    "lastActivity": "2025-12-31T10:00:00.000000Z",
    "idleSince": "2025-12-31T10:00:00.000000Z",
    "connections": 1,
}


def test_a_kernel_that_is_taken_over_is_busy_until_it_answers() -> None:
    idle = activities.adopted(IDLE_BEFORE, START)
    assert idle.execution_state == "busy"
    assert not activities.may_seal(idle, START)
    idle = activities.answered(idle, START)
    assert activities.status(idle, 1).items() >= IDLE_BEFORE.items()

    busy = activities.answered(activities.adopted({"executionState": "busy"}, START), START)
    assert (busy.execution_state, busy.idle_since) == ("idle", START)


def test_what_ended_with_an_earlier_container_of_the_pod() -> None:
    adopted = activities.adopted({**IDLE_BEFORE, "connectionsByPod": {"one": 1}}, START, "one")
    assert adopted.last_connected == START  # idleness that a client keeps counts from now
    assert adopted.last_activity < START
    known = activities.reported_by({**IDLE_BEFORE, "connectionsByPod": {"one": 1}}, "one")
    assert activities.worth_reporting(known, activities.status(adopted, 0, process="one"))
    adopted = activities.adopted({**IDLE_BEFORE, "debuggingByPod": {"one": True}}, START, "one")
    assert not activities.may_seal(activities.answered(adopted, START), START - timedelta(hours=1))
    others = {**IDLE_BEFORE, "connectionsByPod": {"two": 1}, "debuggingByPod": {"two": True}}
    assert activities.adopted(others, START, "one") == activities.adopted(IDLE_BEFORE, START, "one")


def test_a_kernel_that_is_taken_over_in_the_middle_of_a_cell() -> None:
    cell = header("execute_request", "a")
    activity = activities.adopted(IDLE_BEFORE, START)
    activity = activities.published(activity, "stream", cell, None, START)
    assert (activity.execution_state, activity.idle_since) == ("busy", None)
    assert activity.cell == cell
    # Its control channel answers beside the cell.
    info = header("kernel_info_request", "b")
    activity = activities.published(activity, "status", info, "idle", START)
    assert activity.execution_state == "busy"
    activity = activities.published(activity, "status", cell, "idle", START)
    assert activities.answered(activity, START).idle_since == START


def test_what_was_reported_of_a_kernel_that_is_taken_over() -> None:
    """Only what differs from it is worth a report; connections are told apart by process."""
    lost = "2026-01-01T00:00:00.000000Z"
    found = {
        **IDLE_BEFORE,
        "connectionsByPod": {"one": 1, "two": 2},
        "heartbeatLostByPod": {"two": lost},
    }
    own = {
        "connectionsByPod": {"one": 1},
        "heartbeatLostByPod": {"one": None},
        "debuggingByPod": {"one": None},
    }
    known = activities.reported_by(found, "one")
    assert known == {**found, **own}
    adopted = activities.answered(activities.adopted(found, START), START)
    again = activities.status(adopted, 1, process="one")
    assert not activities.worth_reporting(known, again)
    assert activities.reported_by({"executionState": "idle"}, "one") is None
    busy = {"executionState": "busy", "lastActivity": IDLE_BEFORE["lastActivity"], "connections": 0}
    assert activities.reported_by(busy, "one") == {
        **busy,
        "idleSince": None,
        "connectionsByPod": {"one": None},
        "heartbeatLostByPod": {"one": None},
        "debuggingByPod": {"one": None},
    }
