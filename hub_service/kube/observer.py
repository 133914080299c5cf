"""Who is told how controllers and watches are doing."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Is called on the event loop, and must not block."""

    def reconciled(self, controller: str, seconds: float, *, failed: bool) -> None:
        """One reconciliation ended."""

    def watch_broke(self, resource: str, reason: str) -> None:
        """A list or watch failed, for one of ApiError's reasons, and is tried again."""


class Nobody:
    """An observer that takes no note."""

    def reconciled(self, controller: str, seconds: float, *, failed: bool) -> None:
        """Nothing."""

    def watch_broke(self, resource: str, reason: str) -> None:
        """Nothing."""
