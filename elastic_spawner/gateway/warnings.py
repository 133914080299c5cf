"""What the user of a kernel that is about to be culled is told, below the last cell that ran.

When, is the service's decision: it stands in the kernel's `status.culling`. What is said there is
brought up to date in place, where clients can do that, once the end is put off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any
from uuid import uuid4

from elastic_spawner.gateway.activity import Activity
from hub_service import timestamps
from hub_service.kinds import IDLE, Object, Reason, status_of


@dataclass(frozen=True)
class Warning:  # noqa: A001 - it is one
    """That a kernel ends at `deadline` unless something happens.

    decided: when the service found so. reason: a constant of the condition Culled.
    """

    deadline: datetime
    decided: datetime
    reason: str = Reason.IDLE

    def holds(self, activity: Activity) -> bool:
        """Whether the kernel has not been used since: that puts every end off but that for age."""
        if self.reason == Reason.MAXIMUM_AGE:
            return True
        return activity.execution_state == IDLE and activity.last_activity <= self.decided


def of(kernel: Object | None) -> Warning | None:
    """What a JupyterKernel's status says its user is to be warned of; None: nothing."""
    culling: Object = status_of(kernel or {}).get("culling") or {}
    deadline = timestamps.parse(culling.get("deadline"))
    decided = timestamps.parse(culling.get("warnedAt"))
    if deadline is None or decided is None:
        return None
    return Warning(deadline, decided, culling.get("reason") or Reason.IDLE)


def kept_until(kernel: Object | None) -> datetime | None:
    """Until when it is kept, as somebody has asked for; None where nobody has."""
    culling: Object = status_of(kernel or {}).get("culling") or {}
    return timestamps.parse(culling.get("keptUntil"))


def told(warning: Warning, since: datetime, now: datetime, page: str | None) -> dict[str, Any]:
    """The content of the message that warns, less where it is shown.

    since: when the kernel was last active; page: path of the page where it can be kept, if any.
    """
    when = f"at {warning.deadline:%H:%M:%S} UTC ({_in(warning.deadline, now)})"
    if warning.reason == Reason.MAXIMUM_AGE:
        return _shown(
            f"This kernel reaches its maximum age {when}. It ends then, and its variables with it; "
            "a cell that runs is waited for. Save what you need.",
            page,
        )
    because = (
        "another start waits for what it holds"
        if warning.reason == Reason.RECLAIMED
        else f"it has been idle since {since:%H:%M} UTC"
    )
    return _shown(
        f"This kernel ends {when}, and its variables with it: {because}. Run a cell in it to "
        "go on with it.",
        page,
    )


def put_off(before: Warning, kept: datetime | None) -> dict[str, Any]:
    """What takes the place of a warning once the end is put off; kept: until when it is kept."""
    if kept is None or kept <= before.deadline:
        return _shown("This kernel was about to be ended, and goes on.")
    return _shown(f"This kernel was about to be ended, and is kept until {kept:%H:%M:%S} UTC.")


class Display:
    """The place below a cell where one kernel's warnings are shown, in one process' clients.

    Each is a message that may be shown: its type, its content, and the header of its cell.
    """

    def __init__(self) -> None:
        self._shown: Warning | None = None
        self._id = ""
        self._cell: Mapping[str, Any] = {}

    def look(
        self,
        kernel: Object | None,
        activity: Activity,
        now: datetime,
        page: str | None,
    ) -> tuple[str, dict[str, Any], Any] | None:
        """What is to be said now; None: nothing new. page: as for `told`."""
        warning, before = of(kernel), self._shown
        if warning is not None and not warning.holds(activity):
            warning = None
        if warning == before:
            return None
        self._shown = warning
        if warning is not None:
            content = told(warning, activity.last_activity, now, page)
        elif before is not None:
            content = put_off(before, kept_until(kernel))
        if before is not None:
            return self._message("update_display_data", content)
        self._id, self._cell = uuid4().hex, activity.cell
        return self._message("display_data", content)

    def _message(self, kind: str, content: dict[str, Any]) -> tuple[str, dict[str, Any], Any]:
        return kind, {**content, "transient": {"display_id": self._id}}, self._cell


def _in(moment: datetime, now: datetime) -> str:
    seconds = round(max((moment - now).total_seconds(), 0))
    if seconds == 1:
        return "in 1 second"
    return f"in {seconds} seconds" if seconds < 90 else f"in {seconds / 60:.0f} minutes"


def _shown(sentence: str, page: str | None = None) -> dict[str, Any]:
    plain, html = sentence, f"<b>{escape(sentence)}</b>"
    if page:
        plain += f" It can be kept for longer on the page of your kernels: {page}"
        html += (
            " It can be kept for longer on "
            f'<a href="{escape(page)}" target="_blank">the page of your kernels</a>.'
        )
    data = {"text/plain": plain, "text/html": f"<p>{html}</p>"}
    return {"data": data, "metadata": {}}
