"""Whether a server's kernels end with it.

They end when somebody asked the hub to stop the server: its user, an administrator, the idle
culler. They don't when the hub merely found it gone (its node drained, its pod evicted or out of
memory): its user's next server finds them again. Kernels whose user does not come back are left
to the hub's service.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubespawner import KubeSpawner as _Base
else:
    _Base = object

# In `poll`, which stops what it finds dead: to clear away, not because anybody asked.
_polling: ContextVar[bool] = ContextVar("polling", default=False)


class KnowsWhyItStops(_Base):
    """Mixed into KubeSpawner, before it. Asks nothing of it but `poll`, `stop` and `start`."""

    # About the latest stop; for the hooks that run after it.
    stop_was_asked_for = False

    def start(self) -> Any:
        """Start the server; see KubeSpawner."""
        self.stop_was_asked_for = False
        return super().start()

    async def poll(self) -> int | None:
        """None while the server runs; see KubeSpawner."""
        reset = _polling.set(True)
        try:
            status: int | None = await super().poll()
            return status
        finally:
            _polling.reset(reset)

    async def stop(self, now: bool = False) -> None:
        """Stop the server; see KubeSpawner.

        The hub skips this for a server that it finds gone.
        """
        self.stop_was_asked_for = not _polling.get() and not self._is_spawning()
        await super().stop(now)

    def _is_spawning(self) -> bool:
        """Whether a start is not over: what is stopped then are the remains of one that failed.

        The user's kernels are an earlier server's then. A start that its user gave up is over.
        """
        spawning: asyncio.Future[Any] | None = self._spawn_future
        return spawning is not None and not spawning.done()
