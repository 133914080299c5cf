"""What a kernel is doing, from the messages that pass, and whether it may be sealed. Pure.

A kernel is busy while a message that makes it work is unanswered: from the moment the gateway
passes an execute_request on, not only once the kernel has taken it up. Messages that an open tab
sends by itself (kernel_info_request and the like) and the control channel's don't count as work:
with ipykernel, an interrupt_request has an `idle` of its own while the cell still runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hub_service import timestamps
from hub_service.kinds import BUSY, IDLE, STARTING

# Sent by open tabs by themselves, on connecting or all the time, whether or not anybody works.
_PASSIVE = frozenset(
    {
        "kernel_info_request",
        "comm_info_request",
        "connect_request",
        "history_request",
        "create_subshell_request",
        "delete_subshell_request",
        "list_subshell_request",
        "usage_request",
    }
)
_DEBUG = "debug_request"
# Answered beside the running cell: activity of whoever sent it, but no state of the kernel's.
_CONTROL = frozenset({"interrupt_request", "shutdown_request", _DEBUG})
_EXECUTE = "execute_request"
# Commands of a debug_request: asked by each tab; a debugger comes; it goes.
_LOOKS, _ATTACHES, _DETACHES = "debugInfo", "attach", ("disconnect", "terminate")

# What a report has at least.
_REPORTED = {"executionState", "lastActivity", "connections"}
# What each process of a gateway says for itself.
BY_POD = ("connectionsByPod", "heartbeatLostByPod", "debuggingByPod")
# What is reported whenever it changes.
_AT_ONCE = ("executionState", "idleSince", "connections", *BY_POD)
# Activity that changes no state (a widget's messages, say) is reported when it is this much newer.
_REPORT_ACTIVITY_AFTER = timedelta(seconds=10)


@dataclass(frozen=True)
class Activity:
    """A kernel's activity at one moment.

    known: whether what the kernel does is. Not before it has answered a request of this process'
    own, or has taken up or done one that it does one after the other: others answer beside a cell
    that was begun before this process listened.
    last_activity: when something last happened that counts.
    idle_since: when it last became idle; None while it is starting or busy.
    accepted: headers of execute_requests that were passed on and are not done, oldest first.
    running: what it works on: message id by (message type, subshell id).
    taken_up: header of the execute_request it took up last; {} before the first.
    unanswered: it was served by another process of the gateway and has not answered this one yet.
    What it was asked before is done once it does, so it counts as busy until then.
    debugging: a client of this process' has a debugger attached.
    last_connected: when the last client of this process' went.
    """

    last_activity: datetime
    known: bool = False
    idle_since: datetime | None = None
    accepted: tuple[Mapping[str, Any], ...] = ()
    running: Mapping[tuple[str, str], str] = field(default_factory=dict)
    taken_up: Mapping[str, Any] = field(default_factory=dict)
    unanswered: bool = False
    debugging: bool = False
    last_connected: datetime | None = None

    @property
    def execution_state(self) -> str:
        """One of starting, idle, busy."""
        if self.accepted or self.running or self.unanswered:
            return BUSY
        return IDLE if self.known else STARTING

    @property
    def cell(self) -> Mapping[str, Any]:
        """Header of the cell that an end of the kernel belongs to; {} if there was none.

        The oldest that isn't done, taken up or not: a kernel can die before its `busy` is seen.
        """
        return self.accepted[0] if self.accepted else self.taken_up


def started(now: datetime) -> Activity:
    """A kernel whose process has just begun."""
    return Activity(last_activity=now)


def adopted(reported: Mapping[str, Any], now: datetime, process: str = "") -> Activity:
    """A kernel that another process of the gateway has served.

    reported: what was written of it last, as `status` gives it; {} where nothing was. Whether it
    is idle still, only the kernel itself can say. What is written of `process`, which is this one's
    name, is of an earlier container in its pod, and ended with that.
    """
    is_idle = reported.get("executionState") == IDLE
    had_client, had_debugger = (
        (reported.get(name) or {}).get(process) for name in ("connectionsByPod", "debuggingByPod")
    )
    last_activity = None if had_debugger else timestamps.parse(reported.get("lastActivity"))
    return Activity(
        last_activity=last_activity or now,
        last_connected=now if had_client else None,
        idle_since=timestamps.parse(reported.get("idleSince")) if is_idle else None,
        unanswered=True,
    )


def answered(activity: Activity, now: datetime) -> Activity:
    """The kernel answered a kernel_info_request of the gateway's own on its shell channel."""
    if activity.unanswered:
        # One that was idle before is so still; another has just finished something.
        last = activity.last_activity if activity.idle_since else now
        activity = replace(activity, last_activity=last, unanswered=False, known=False)
    return activity if activity.known else _settled(replace(activity, known=True), now)


def passed_on(
    activity: Activity, header: Mapping[str, Any], now: datetime, command: str = ""
) -> Activity:
    """A client's message was accepted for the kernel. command: of a debug_request."""
    kind = header.get("msg_type", "")
    if kind in _PASSIVE or (kind == _DEBUG and command == _LOOKS):
        return activity
    activity = replace(activity, last_activity=now)
    if command == _ATTACHES:
        return replace(activity, debugging=True)
    if command in _DETACHES:
        return replace(activity, debugging=False)
    if kind != _EXECUTE:
        return activity
    return replace(activity, accepted=(*activity.accepted, dict(header)), idle_since=None)


def left(activity: Activity, now: datetime) -> Activity:
    """The last client of this process' has gone, and with it a debugger."""
    last = now if activity.debugging else activity.last_activity
    return replace(activity, debugging=False, last_activity=last, last_connected=now)


def published(
    activity: Activity,
    message_type: str,
    parent: Mapping[str, Any],
    state: str | None,
    now: datetime,
) -> Activity:
    """The kernel published something on iopub.

    message_type: of the message; parent: its parent header; state: `execution_state` of a status.
    """
    kind = parent.get("msg_type", "")
    if kind in _PASSIVE:
        return activity  # on the control channel a kernel answers beside its work
    if message_type == "iopub_welcome":
        return activity  # somebody has subscribed
    if message_type == "status" and (not kind or state not in (IDLE, BUSY)):
        return activity  # `starting`, or a status of nobody's request
    if message_type == "status" and kind in _CONTROL:
        return activity  # its request was counted when it passed
    in_turn = message_type == "status" and not parent.get("subshell_id")
    activity = replace(activity, known=activity.known or in_turn, last_activity=now)
    if activity.unanswered:
        activity = replace(activity, idle_since=None)
        if kind == _EXECUTE and not activity.taken_up:
            activity = replace(activity, taken_up=dict(parent))
    if message_type != "status":
        return _settled(activity, now)
    if state == BUSY:
        return _taken_up(activity, parent)
    return _settled(done(activity, parent, now), now)


def done(activity: Activity, parent: Mapping[str, Any], now: datetime) -> Activity:
    """The kernel has finished with a request: it published idle, or its reply passed by."""
    message_id = parent.get("msg_id")
    running = {key: value for key, value in activity.running.items() if value != message_id}
    accepted = tuple(cell for cell in activity.accepted if cell.get("msg_id") != message_id)
    if len(running) == len(activity.running) and len(accepted) == len(activity.accepted):
        return activity
    return _settled(replace(activity, running=running, accepted=accepted, last_activity=now), now)


def may_seal(activity: Activity, idle_before: datetime) -> bool:
    """True if the kernel is idle and nothing has happened since `idle_before`."""
    is_idle = activity.execution_state == IDLE and not activity.debugging
    return is_idle and activity.last_activity <= idle_before


def status(
    activity: Activity,
    connections: int,
    heartbeat_lost_since: datetime | None = None,
    *,
    elsewhere: int = 0,
    left_elsewhere: datetime | None = None,
    process: str = "",
) -> dict[str, Any]:
    """The content of a JupyterKernel's `status.activity`.

    connections: of this process of the gateway, which is called `process`; elsewhere: of others;
    left_elsewhere: when the last of those went.
    """
    lost = heartbeat_lost_since
    left = max(filter(None, (activity.last_connected, left_elsewhere)), default=None)
    return {
        "executionState": activity.execution_state,
        "lastActivity": timestamps.microseconds(activity.last_activity),
        "idleSince": timestamps.microseconds(activity.idle_since) if activity.idle_since else None,
        "connections": connections + elsewhere,
        **({"lastConnected": timestamps.microseconds(left)} if left else {}),
        # By a merge patch: others' stay, and none is no entry.
        "connectionsByPod": {process: connections or None},
        "heartbeatLostByPod": {process: timestamps.microseconds(lost) if lost else None},
        "debuggingByPod": {process: activity.debugging or None},
    }


def reported_by(found: Mapping[str, Any], process: str) -> dict[str, Any] | None:
    """What was written last of a kernel that is taken over, as that process is to know it.

    found: its `status.activity`. None where that doesn't say enough.
    """
    if not found.keys() >= _REPORTED:
        return None
    own = {name: {process: (found.get(name) or {}).get(process)} for name in BY_POD}
    return {"idleSince": None, **found, **own}


def worth_reporting(reported: Mapping[str, Any] | None, current: Mapping[str, Any]) -> bool:
    """True if `current` says something that `reported`, the last status written, does not.

    That a kernel whose activity was never written is starting goes without saying; that somebody
    is connected to it meanwhile doesn't: other processes of the gateway would take it for left.
    """
    if reported is None:
        return bool(current["executionState"] != STARTING or current["connections"])
    if any(reported.get(key) != current.get(key) for key in _AT_ONCE):
        return True
    before = datetime.fromisoformat(reported["lastActivity"])
    return datetime.fromisoformat(current["lastActivity"]) - before >= _REPORT_ACTIVITY_AFTER


def _taken_up(activity: Activity, parent: Mapping[str, Any]) -> Activity:
    kind, message_id = str(parent["msg_type"]), str(parent.get("msg_id"))
    # One message of a type at a time in one shell: what was there before is done, even if its
    # idle was lost (iopub drops messages when a cell floods it).
    running = {**activity.running, (kind, str(parent.get("subshell_id") or "")): message_id}
    activity = replace(activity, running=running, idle_since=None)
    if kind != _EXECUTE:
        return activity
    ids = [cell.get("msg_id") for cell in activity.accepted]
    accepted = activity.accepted[ids.index(message_id) if message_id in ids else 0 :]
    return replace(activity, accepted=accepted, taken_up=dict(parent))


def _settled(activity: Activity, now: datetime) -> Activity:
    """Set idle_since if the kernel has nothing left to do."""
    if activity.execution_state != IDLE:
        return activity
    return replace(activity, idle_since=activity.idle_since or now)
