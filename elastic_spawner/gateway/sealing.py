"""How an idle kernel is ended, so that nothing a client has just sent is lost.

The hub's service asks for it (handlers.py). Where the gateway has several processes, each of them
holds the kernel before any seals it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway import endings, saving
from hub_service.gateways.activity import Why
from hub_service.kernels import saving as hooks
from hub_service.kernels.saving import Outcome

if TYPE_CHECKING:
    from elastic_spawner.gateway.kernelmanager import ElasticKernelManager

# Seconds for which a kernel is held at most, beside those that saving may take. The service seals
# in half of it, or not at all.
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
        somebody_waits = self.held and self._manager.clients.any_waits()
        if somebody_waits or not self._may_seal(idle_before):
            self.release()
            return False
        self._let_go()
        hook = self._hook
        seconds = _HOLD + (hook.timeout if hook else 0)
        self._hold = asyncio.get_running_loop().call_later(seconds, self.release)
        self._manager.clients.hold()
        return True

    async def save(self) -> Outcome | None:
        """Have a kernel that is held run what its spec names; None where it isn't held."""
        if not self.held:
            return None
        hook = self._hook
        if hook is None:
            return Outcome(False, "its resource names nothing that could be run.")
        return await saving.save(self._manager, hook)

    def release(self) -> None:
        """Pass on what clients have sent since `hold`."""
        if self._hold is not None:
            self._let_go()
            if self._manager.reachable:
                self._manager.clients.resume()

    def seal(
        self, idle_before: datetime, why: Why | None = None, saved: Outcome | None = None
    ) -> bool:
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
        self.end_as_culled(why, saved)
        return True

    def end_as_culled(self, why: Why | None = None, saved: Outcome | None = None) -> None:
        """The kernel was asked to end, by this process or another: tell this one's clients."""
        self.sealed = True
        self._let_go()
        since = self._manager.monitor.activity.last_activity
        self._manager.end(endings.of_cull(since, why, saved))

    @property
    def _hook(self) -> hooks.Hook | None:
        return hooks.hook(self._manager.resource or {})

    def _may_seal(self, idle_before: datetime) -> bool:
        if self._manager.ended is not None or self._manager.monitor.heart.lost_since is not None:
            return False  # what a kernel does that can't be heard is not known
        return activities.may_seal(self._manager.monitor.activity, idle_before)

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
