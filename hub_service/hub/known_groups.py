"""What the service knows of the hub's groups: asked when it is needed, kept while the hub is down.

The hub tells nobody of changes. Asking at each start, but not for each of many at once, lets a
change act on the next one; asking all the time would be work for the hub's one process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from hub_service.hub.groups import Group, Groups

log = logging.getLogger(__name__)

# Asks the hub for all groups; None where it gave no definite answer.
FetchGroups = Callable[[], Awaitable[Sequence[Group] | None]]
# Is told of the groups as they are now.
Listener = Callable[[Groups], None]

# How old, in seconds, what a decision rests on may be.
_RECENT = 1.0
# For how long a decision waits for the hub before it rests on what was known last.
_PATIENCE = 2.0
_ASK_AGAIN_AFTER_FAILURE = 5.0
_LOOK_INTERVAL = 15.0


class KnownGroups:
    """The last word of the hub on its groups.

    `fetch`: None where there is no hub; then there are no groups, and that is known.
    `on_change` is called with the groups whenever the hub says something else than before, as are
    those that `subscribed`.
    """

    def __init__(self, fetch: FetchGroups | None, *, on_change: Listener = lambda _: None) -> None:
        self._fetch = fetch
        self._listeners = [on_change]
        self._current = Groups() if fetch is None else None
        self._recent_until = 0.0
        self._asking: asyncio.Task[None] | None = None

    @property
    def current(self) -> Groups | None:
        """What was known last; None before the hub's first answer."""
        return self._current

    @contextmanager
    def subscribed(self, listener: Listener) -> Iterator[None]:
        """Have a listener called as `on_change` is, in the block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def recent(self) -> Groups | None:
        """The groups as they are, or were a moment ago.

        While the hub does not answer, what was known last; None where that is nothing.
        """
        if self._fetch is not None and asyncio.get_running_loop().time() >= self._recent_until:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask(self._fetch))
            await asyncio.wait({self._asking}, timeout=_PATIENCE)
        return self._current

    async def run(self) -> None:
        """Ask now and then until cancelled, so that a change is noticed though nobody needs it."""
        if self._fetch is None:
            return
        try:
            while True:
                await self.recent()
                await asyncio.sleep(_LOOK_INTERVAL if self._current else _PATIENCE)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _ask(self, fetch: FetchGroups) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            listed = await fetch()
        finally:
            self._asking = None
        if listed is None:
            self._recent_until = clock() + _ASK_AGAIN_AFTER_FAILURE
            log.warning(
                "the hub does not tell its groups; %s",
                "nobody's kernels are admitted before it does"
                if self._current is None
                else "those that were known last count",
            )
            return
        self._recent_until = began + _RECENT
        groups = Groups(listed)
        if groups != self._current:
            self._current = groups
            for listener in self._listeners:
                listener(groups)
