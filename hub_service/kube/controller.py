"""Runs a `reconcile(key)` coroutine for keys whose objects changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from functools import partial

from hub_service.kube.errors import ApiError
from hub_service.kube.observer import Nobody, Observer
from hub_service.kube.reflector import OnChange, Reflector
from hub_service.kube.store import Key, Object, key_of
from hub_service.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

# Brings what is there to what ought to be there, whatever happened. Returns the seconds after
# which to look again even if nothing changes, or None.
Reconcile = Callable[[Key], Awaitable[float | None]]
# Which keys a change of an object concerns: (key, old, new) -> keys.
Concerns = Callable[[Key, Object | None, Object | None], Iterable[Key]]


def itself(key: Key, _old: Object | None, _new: Object | None) -> Iterable[Key]:
    """A change concerns the object's own key."""
    return (key,)


class Controller:
    """A workqueue fed by reflectors and emptied by workers.

    A failed reconciliation is logged with its key and tried again, later each time; the others go
    on. The reflectors are run by whoever owns them, and may be older than the controller: when it
    begins to run, it works on all that they have.
    """

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        *,
        workers: int = 8,
        queue: WorkQueue[Key] | None = None,
    ) -> None:
        self.queue = WorkQueue[Key]() if queue is None else queue
        self.name = name
        self._observer: Observer = Nobody()
        self._reconcile = reconcile
        self._workers = workers
        self._follows: list[tuple[Reflector, Concerns, float]] = []
        self._waits_for: list[Reflector] = []

    def observed_by(self, observer: Observer) -> None:
        """Tell it of each reconciliation."""
        self._observer = observer

    def follow(
        self,
        reflector: Reflector,
        concerns: Concerns = itself,
        *,
        waits: bool = True,
        within: float = 0.0,
    ) -> None:
        """Reconcile the keys that each change of this reflector's objects concerns.

        waits: whether nothing is reconciled before its first list is there. within: seconds that it
        may take, for what many changes concern alike: they cause one reconciliation then.
        """
        self._follows.append((reflector, concerns, within))
        if waits:
            self._waits_for.append(reflector)

    async def run(self) -> None:
        """Wait for the reflectors' first lists, then work until cancelled."""
        for reflector in self._waits_for:
            await reflector.synced()
        try:
            with ExitStack() as stack:
                for reflector, concerns, within in self._follows:
                    on_change = self._adder(concerns, within)
                    stack.enter_context(reflector.subscribed(on_change))
                    for item in reflector.store:
                        on_change(key_of(item), None, item)
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._workers):
                        group.create_task(self._work())
        finally:
            self.queue.close()

    def _adder(self, concerns: Concerns, within: float) -> OnChange:
        add = partial(self.queue.add_within, delay=within) if within else self.queue.add

        def on_change(key: Key, old: Object | None, new: Object | None) -> None:
            for concerned in concerns(key, old, new):
                add(concerned)

        return on_change

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._once(key)
            finally:
                self.queue.done(key)

    async def _once(self, key: Key) -> None:
        self.queue.cancel_timer(key)
        started = time.monotonic()
        failed = True
        try:
            again = await self._reconcile(key)
        except ApiError as error:
            delay = self.queue.add_after_failure(key)
            log.warning("%s %s: %s; again in %.1f s", self.name, key, error, delay)
        except Exception:
            delay = self.queue.add_after_failure(key)
            log.exception("%s %s: failed; again in %.1f s", self.name, key, delay)
        else:
            failed = False
            self.queue.forget(key)
            if again is not None:
                self.queue.add_within(key, again)  # a change meanwhile may want it sooner
        self._observer.reconciled(self.name, time.monotonic() - started, failed=failed)
