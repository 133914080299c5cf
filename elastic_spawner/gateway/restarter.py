"""What stands where jupyter_client has a restarter: one that never restarts.

A kernel that died lost its variables, and its GPU may have gone to somebody else. It is reported
dead, with the reason, and its user decides.
"""

from __future__ import annotations

from jupyter_client.ioloop.restarter import AsyncIOLoopKernelRestarter


class ReportingRestarter(AsyncIOLoopKernelRestarter):
    """Keeps the callbacks of those who want to know; the watch says when a kernel has died."""

    def start(self) -> None:
        """Nothing: there is no polling."""

    def stop(self) -> None:
        """Nothing: there is no polling."""

    def report_death(self) -> None:
        """Tell every listener that the kernel is dead and stays so until its user restarts it."""
        self._fire_callbacks("dead")

    def report_restart(self) -> None:
        """Tell every listener that the kernel's process was started again by itself."""
        self._fire_callbacks("restart")
