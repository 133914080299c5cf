"""How an idle kernel is ended, so that nothing a client has just sent is lost.

The hub's service asks for it (handlers.py). Where the gateway has several processes, each of them
holds the kernel before any seals it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway.kernel_resource import Ending

if TYPE_CHECKING:
    from elastic_spawner.gateway.kernelmanager import ElasticKernelManager

# Seconds for which a kernel is held at most. The service seals in half of it, or not at all.
_HOLD = 30.0


class Sealing:
    """One kernel's. sealed: it takes no more messages, and was asked to end."""

    def __init__(self, manager: ElasticKernelManager) -> None:
        self.sealed = False
        self._manager = manager
        self._hold: asyncio.TimerHandle | None = None

    @property
    def held(self) -> bool:
        """Whether what clients send waits until the kernel is sealed or released."""
        return self._hold is not None

    def hold(self, idle_before: datetime) -> bool:
        """Pass nothing on for a while, if the kernel is idle since then; whether it is held."""
        if self.sealed:
            return True
        if not self._may_seal(idle_before):
            return False
        self._let_go()
        self._hold = asyncio.get_running_loop().call_later(_HOLD, self.release)
        self._manager.clients.hold()
        return True

    def release(self) -> None:
        """Pass on what clients have sent since `hold`."""
        if self._hold is not None:
            self._let_go()
            if self._manager.reachable:
                self._manager.clients.resume()

    def seal(self, idle_before: datetime) -> bool:
        """End the kernel if it is idle since `idle_before`; returns whether it is sealed.

        Between the look and the seal nothing else runs on the loop: what a client sent before has
        been counted as activity, what comes after is refused. One that is held was looked at then;
        what it is busy with now is another process' request to end.
        """
        if self.sealed:
            return True
        may_seal = self._manager.ended is None if self.held else self._may_seal(idle_before)
        if not may_seal:
            self.release()
            return False
        self._manager.request_shutdown()
        self.end_as_culled()
        return True

    def end_as_culled(self) -> None:
        """The kernel was asked to end, by this process or another: tell this one's clients."""
        self.sealed = True
        self._let_go()
        since = self._manager.monitor.activity.last_activity
        self._manager.end(
            Ending(
                "KernelCulled",
                f"This kernel was ended because it had been idle since {since:%H:%M} UTC: its "
                "memory and GPU are free for others, its variables are gone. Start a new one "
                "with Kernel > Change Kernel.",
            )
        )

    def _may_seal(self, idle_before: datetime) -> bool:
        manager = self._manager
        return manager.ended is None and activities.may_seal(manager.monitor.activity, idle_before)

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
