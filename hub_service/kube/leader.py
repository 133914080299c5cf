"""Competes for a Lease and runs something while it is held: one of several processes acts.

The decisions are in `lease`. The client's own leader election is not used: there, a hung request
outlives the deadline, and what was started goes on after the Lease is lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from hub_service.kube import lease
from hub_service.kube.client import Cluster, Object
from hub_service.kube.errors import ApiError, unanswered
from hub_service.kube.lease import Seen, Timing

log = logging.getLogger(__name__)

EXIT_STUCK = 70


@dataclass(frozen=True)
class _Leases:
    """The kind."""

    group: str = "coordination.k8s.io"
    version: str = "v1"
    plural: str = "leases"
    kind: str = "Lease"


LEASES = _Leases()


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def end_process() -> None:
    """What can't be stopped must not go on; whoever started the process starts it again."""
    os._exit(EXIT_STUCK)


class Leader:
    """One competitor, called `identity`: no two that run have the same.

    `run` may be called once. `may_act` is for whoever is about to write: it is false from the
    moment at which another might have taken over, even if the event loop stood still meanwhile.
    `on_change` is told when acting begins (True) and has ended (False). `on_stuck` is called where
    what acts doesn't stop in time.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing | None = None,
        clock: Callable[[], float] = boot_time,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_change: Callable[[bool], None] = lambda _: None,
        on_stuck: Callable[[], None] = end_process,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._me = identity
        self._timing = timing or Timing()
        self._clock = clock
        self._wall = wall
        self._on_change = on_change
        self._on_stuck = on_stuck
        self._seen: Seen | None = None
        self._renewed: float | None = None

    def may_act(self) -> bool:
        """Whether the Lease is held, by what is known here, now."""
        return lease.time_left(self._renewed, self._timing, self._clock()) > 0

    async def run(self, act: Callable[[], Awaitable[None]]) -> None:
        """Run `act` whenever the Lease is held, and cancel it when that ends; until cancelled.

        The Lease is given back when this is cancelled, or `act` ends or fails by itself, which
        ends this as well.
        """
        while True:
            await self._take()
            log.info("%s: leading as %s", self, self._me)
            if await self._lead(act):
                return
            log.warning("%s: lost; standing by", self)

    async def _take(self) -> None:
        """Return once the Lease is held."""
        told: str | None = None
        while not await self._try_to_take():
            holder = self._seen.record.holder if self._seen else None
            if holder not in (told, self._me):
                log.info("%s: held by %s; standing by", self, holder)
                told = holder
            await asyncio.sleep(self._timing.retry * random.uniform(0.75, 1.0))  # noqa: S311

    async def _try_to_take(self) -> bool:
        try:
            exists = await self._look()
            if lease.wait_to_take(self._seen, self._me, self._timing, self._clock()) > 0:
                return False
            await self._write(exists=exists)
        except ApiError as error:
            if error.status != 409:  # another was faster
                log.warning("%s: %s; trying again", self, error)
            return False
        return True

    async def _lead(self, act: Callable[[], Awaitable[None]]) -> bool:
        """Act until the Lease is lost (False), or `act` ended by itself (True)."""
        acting = asyncio.ensure_future(act())
        keeping = asyncio.create_task(self._keep())
        self._on_change(True)
        try:
            await asyncio.wait({acting, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                await acting
            return acting.done()
        finally:
            # When this is cancelled, too: what acts has stopped before the Lease is given back.
            await self._stop(acting)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            self._on_change(False)
            await self._release(acting.done())

    async def _keep(self) -> None:
        """Renew until the Lease is lost."""
        pause = self._timing.renew
        while (left := lease.time_left(self._renewed, self._timing, self._clock())) > 0:
            try:
                async with asyncio.timeout(left):
                    await asyncio.sleep(pause)
                    await self._renew()
                pause = self._timing.renew
            except ApiError as error:
                log.warning("%s: not renewed: %s; trying again", self, error)
                pause = self._timing.retry
            except TimeoutError:
                log.warning("%s: not renewed in time", self)

    async def _renew(self) -> None:
        try:
            await self._write(exists=True)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            # Changed by somebody, or deleted, or the answer to an earlier renewal was lost.
            if await self._look() and self._seen and self._seen.record.holder == self._me:
                await self._write(exists=True)
            else:
                self._renewed = None

    async def _stop(self, acting: asyncio.Future[None]) -> None:
        if acting.done():
            return
        acting.cancel()
        await asyncio.wait({acting}, timeout=self._timing.stop_within)
        if not acting.done():
            log.critical("%s: what acts did not stop in %s s", self, self._timing.stop_within)
            self._on_stuck()
        elif not acting.cancelled() and (error := acting.exception()):
            log.error("%s: what acts failed: %r", self, error)

    async def _release(self, stopped: bool) -> None:
        """Give the Lease back where that is safe, so that nobody waits for it to expire."""
        held, self._renewed = self.may_act(), None
        if not (held and stopped):
            return
        try:
            await self._patch(lease.released(self._wall()))
        except ApiError as error:
            log.warning("%s: not given back: %s", self, error)
        else:
            log.info("%s: given back", self)

    async def _look(self) -> bool:
        """Read the Lease; whether there is one. Raises ApiError."""
        try:
            found = await self._ask(self._cluster.get(LEASES, self._namespace, self._name))
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        self._note(found)
        return True

    async def _write(self, *, exists: bool) -> None:
        """Take or renew it. Raises ApiError: 409 where it is not as it was seen last."""
        spec = lease.taken(self._seen, self._me, self._timing, self._wall())
        sent = self._clock()
        if exists:
            await self._patch(spec)
        else:
            body = {
                "apiVersion": f"{LEASES.group}/{LEASES.version}",
                "kind": LEASES.kind,
                "metadata": {"name": self._name},
                "spec": spec,
            }
            self._note(await self._ask(self._cluster.create(LEASES, self._namespace, body)))
        self._renewed = sent

    async def _patch(self, spec: Object) -> None:
        version = self._seen.record.version if self._seen else None
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        patching = self._cluster.merge_patch(LEASES, self._namespace, self._name, body)
        self._note(await self._ask(patching))

    def _note(self, found: Object) -> None:
        self._seen = lease.seen(self._seen, lease.record_of(found), self._clock())

    async def _ask(self, request: Awaitable[Object]) -> Object:
        try:
            async with asyncio.timeout(self._timing.request):
                return await request
        except TimeoutError as error:
            raise unanswered(error) from error

    def __str__(self) -> str:
        return f"lease {self._namespace}/{self._name}"
