"""What a client is told while its kernel doesn't answer yet. Pure.

What it sends is kept, in order, and passed on when the kernel answers. Until then the first cell
that waits shows in its output what the start waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# JupyterLab asks once who the kernel is, and keeps the answer in the notebook's metadata: that has
# to be the kernel's own. Programs ask every second until they hear anything at all, and give up
# after a while: they are answered in the kernel's place.
_ASKED_AGAIN = 3


class Answer(NamedTuple):
    """A message to a client, in the kernel's place; parent: header of what it answers."""

    channel: str
    kind: str
    content: dict[str, Any]
    parent: Mapping[str, Any]


class Holding:
    """The messages of one client that wait for its kernel."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self._cell: Mapping[str, Any] | None = None  # the first one that waits
        self._shown = ""
        self._asked = 0

    def take(
        self,
        message: str | bytes,
        header: Mapping[str, Any],
        content: Mapping[str, Any],
        introduction: Callable[[], Mapping[str, Any]],
        progress: str,
    ) -> list[Answer]:
        """Keep a message, as it came, and say what is to be answered now.

        introduction: gives the content of a kernel_info_reply, where one is needed.
        progress: what the start waits for.
        """
        kind = header.get("msg_type")
        if kind == "kernel_info_request":
            self._asked += 1
            if self._asked >= _ASKED_AGAIN:
                return _introduced(header, introduction())
        self.messages.append(message)
        if kind != "execute_request" or content.get("silent") or self._cell is not None:
            return []
        self._cell = dict(header)
        return self.show(progress)

    def show(self, progress: str) -> list[Answer]:
        """Write below the first cell what the start waits for, in place of what stood there."""
        if self._cell is None or progress == self._shown:
            return []
        answers = [self._cleared(wait=True)] if self._shown else []
        self._shown = progress
        said = {"name": "stdout", "text": f"{progress}\n"}
        return [*answers, Answer("iopub", "stream", said, self._cell)]

    def release(self) -> tuple[list[str | bytes], list[Answer]]:
        """What was kept, and what is to be said before it goes on; begins anew."""
        answers = [self._cleared(wait=False)] if self._shown else []
        messages, self.messages = self.messages, []
        self._cell, self._shown, self._asked = None, "", 0
        return messages, answers

    def _cleared(self, *, wait: bool) -> Answer:
        assert self._cell is not None  # noqa: S101 - something is shown below it
        return Answer("iopub", "clear_output", {"wait": wait}, self._cell)


def refused(header: Mapping[str, Any], sentence: str) -> list[Answer]:
    """The answer to a request in place of a kernel that has ended, so that no cell waits for it."""
    said = Answer("iopub", "stream", {"name": "stderr", "text": f"{sentence}\n"}, header)
    if header.get("msg_type") != "execute_request":
        return [said]
    error = {"ename": "KernelEnded", "evalue": sentence, "traceback": [sentence]}
    return [said, *_done(header, {"status": "error", **error})]


def aborted(header: Mapping[str, Any]) -> list[Answer]:
    """The answer to a cell that won't run because of what happened to one before it."""
    if header.get("msg_type") != "execute_request":
        return []
    return _done(header, {"status": "aborted"})


def _introduced(header: Mapping[str, Any], content: Mapping[str, Any]) -> list[Answer]:
    return [
        Answer("iopub", "status", {"execution_state": "busy"}, header),
        Answer("shell", "kernel_info_reply", dict(content), header),
        Answer("iopub", "status", {"execution_state": "idle"}, header),
        Answer("iopub", "status", {"execution_state": "starting"}, {}),
    ]


def _done(header: Mapping[str, Any], reply: dict[str, Any]) -> list[Answer]:
    return [
        Answer("shell", "execute_reply", reply, header),
        Answer("iopub", "status", {"execution_state": "idle"}, header),
    ]
