"""Keeps the ledger: books what pods with GPUs and notebook servers do, and writes it now and then.

Runs while the service leads. What goes on when it stops is booked by the next one, from where this
one has written; of pods that end while nobody leads, the time since then is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from datetime import date, datetime, timedelta

from hub_service import homes, timestamps
from hub_service.hub.groups import Groups
from hub_service.kinds import (
    BUSY,
    JUPYTER_KERNELS,
    LABEL_KERNEL_SPEC,
    LABEL_OWNER,
    Object,
    condition,
    controller,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Key, Reflector
from hub_service.ledger import document
from hub_service.ledger.books import Account, Amounts, Books, Entry
from hub_service.ledger.holdings import Gpus, Holdings
from hub_service.pods import podtemplate
from hub_service.reconcile.ledger_days import LedgerDays

log = logging.getLogger(__name__)

# Is told what was booked for an account, and of the groups that its user is in.
Note = Callable[[Account, Amounts, Iterable[str]], None]

# Seconds between two writings: so much is missing at most of what ends while nobody leads.
_INTERVAL = 60.0
_ASK_AGAIN = 5.0
# For the last writing. Another service waits for this one to stop.
_LAST = 1.0


class Ledger:
    """Books of all GPUs that kernels hold.

    `retention`: days that are kept. `groups`: the hub's, None while they aren't known. `covers`:
    whether a namespace is looked after. `note` is told of all that is booked.
    """

    def __init__(
        self,
        days: LedgerDays,
        *,
        kernels: Reflector,
        pods: Reflector,
        notebook_pods: Reflector,
        covers: Callable[[str], bool],
        groups: Callable[[], Groups | None],
        retention: timedelta,
        note: Note,
    ) -> None:
        self._days = days
        self._kernels = kernels
        self._pods = pods
        self._notebook_pods = notebook_pods
        self._covers = covers
        self._groups = groups
        self._retention = retention
        self._note = note
        self._books = Books(on_add=self._booked)
        self._holdings = Holdings(self._books)
        self._pods_of: dict[Key, set[str]] = {}
        self._known_days: set[date] = set()
        self._written_servers: set[str] = set()
        self._cleared: date | None = None
        self._complaint = ""

    async def run(self) -> None:
        """Book and write until cancelled, and once more then."""
        await self._restore()
        with ExitStack() as stack:
            # Nothing is awaited in between, so nothing is missed.
            for reflector, listener in (
                (self._notebook_pods, self._on_notebook_pod),
                (self._pods, self._on_pod),
                (self._kernels, self._on_kernel),
            ):
                stack.enter_context(reflector.subscribed(listener))
            for pod in self._notebook_pods.store:
                self._on_notebook_pod(Key("", ""), None, pod)
            for pod in self._pods.store:
                self._on_pod(Key("", ""), None, pod)
            try:
                while True:
                    await asyncio.sleep(_INTERVAL)
                    await self._try_to_write()
            finally:
                try:
                    async with asyncio.timeout(_LAST):
                        await self.write()
                except ApiError as error:
                    log.warning("ledger: not written at the end: %s", error)
                except TimeoutError:
                    log.warning("ledger: not written at the end: no answer within %s s", _LAST)

    async def write(self) -> None:
        """Write what was booked up to now. Raises ApiError."""
        now = timestamps.now()
        self._holdings.settle(now)
        while unknown := self._books.changed_days - self._known_days:
            for day in unknown:
                await self._take_in(day)
            now = timestamps.now()
            self._holdings.settle(now)
        changed, amounts = self._books.take_changed()
        servers = {uid: dict(would_hold) for uid, would_hold in self._holdings.servers}
        try:
            await self._write(changed, amounts, servers, now)
        except BaseException:
            self._books.put_back(changed)
            raise
        today = now.date()
        self._books.forget_before(today)
        # What came meanwhile for a day that is over is on top of what is known of it already.
        unwritten = self._books.changed_days
        self._known_days = {day for day in self._known_days if day >= today or day in unwritten}
        if self._cleared != today:
            count = await self._days.delete_before(today - self._retention)
            self._cleared = today
            if count:
                log.info("ledger: deleted %d days that were older than it keeps", count)

    async def _write(
        self,
        changed: Collection[Entry],
        amounts: Mapping[Entry, Amounts],
        servers: Mapping[str, Gpus],
        now: datetime,
    ) -> None:
        groups = self._groups()
        users = {entry.account.user for entry in changed}
        names = {user: groups.names_of(user) for user in users} if groups else {}
        days = sorted({entry.day for entry in changed})
        for day in days[:-1]:
            status = document.patch(day, amounts, changed, names, {}, (), now)
            await self._days.patch(day, status)
        for day in days[-1:]:  # the one that the next process begins with
            gone = self._written_servers - servers.keys()
            status = document.patch(day, amounts, changed, names, servers, gone, now)
            await self._days.patch(day, status)
            self._written_servers = set(servers)

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except ApiError as error:
            self._complain(f"not written: {error}")
        else:
            self._complaint = ""

    def _complain(self, words: str) -> None:
        """Once, though it is tried each minute."""
        if words != self._complaint:
            log.warning("ledger: %s; trying again", words)
        self._complaint = words

    async def _take_in(self, day: date) -> None:
        """Have what is written of a day already, or make its resource."""
        item = await self._days.get(day)
        if item is None:
            await self._days.create(day)
        else:
            for row in document.rows(item):
                self._books.restore(row.entry, row.amounts)
        self._known_days.add(day)

    async def _restore(self) -> None:
        """Take up the books where they were written last."""
        while True:
            try:
                last = await self._days.last(timestamps.now().date())
                break
            except ApiError as error:
                self._complain(f"not read: {error}")
                await asyncio.sleep(_ASK_AGAIN)
        self._complaint = ""
        if last is None:
            return
        self._holdings = Holdings(self._books, document.until(last))
        for uid, would_hold in document.servers(last):
            self._holdings.restore(uid, would_hold)
            self._written_servers.add(uid)

    def _booked(self, account: Account, amounts: Amounts) -> None:
        groups = self._groups()
        self._note(account, amounts, groups.names_of(account.user) if groups else ())

    def _on_pod(self, _key: Key, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or uid_of(old) != uid_of(new) or not holds_gpus(new)):
            self._release(old)
        if new is None or not holds_gpus(new) or not self._covers(namespace_of(new)):
            return
        if not self._holdings.knows(uid_of(new)):
            self._take(new, _scheduled(new) or timestamps.now())
        elif old is not None and _kernel_of(old) != _kernel_of(new):
            # A warm pod, which has become a kernel's.
            self._release(old)
            self._take(new, timestamps.now())

    def _take(self, pod: Object, began: datetime) -> None:
        key = _kernel_of(pod)
        kernel = self._kernels.store.get(key) if key else None
        self._holdings.take(
            uid_of(pod),
            _account(pod, kernel),
            podtemplate.gpus(pod),
            server=_server_of(kernel) if kernel else None,
            began=began,
            busy=kernel is not None and _is_busy(kernel),
        )
        if key is not None:
            self._pods_of.setdefault(key, set()).add(uid_of(pod))

    def _release(self, pod: Object) -> None:
        self._holdings.release(uid_of(pod), timestamps.now())
        key = _kernel_of(pod)
        if key in self._pods_of:
            self._pods_of[key].discard(uid_of(pod))
            if not self._pods_of[key]:
                del self._pods_of[key]

    def _on_kernel(self, key: Key, _old: Object | None, new: Object | None) -> None:
        for pod in self._pods_of.get(key, ()):
            busy = new is not None and _is_busy(new)
            self._holdings.turn(pod, busy=busy, now=timestamps.now())

    def _on_notebook_pod(self, _key: Key, old: Object | None, new: Object | None) -> None:
        server = homes.server_of_pod(new or old or {})
        if server is None:
            return
        now = timestamps.now()
        if old is not None and (new is None or uid_of(old) != uid_of(new) or _is_over(new)):
            self._holdings.server_stopped(server, uid_of(old), now)
        if new is not None and not _is_over(new) and spec_of(new).get("nodeName"):
            began = timestamps.parse(status_of(new).get("startTime")) or now
            self._holdings.server_started(server, uid_of(new), began, now)


def holds_gpus(pod: Object) -> bool:
    """Whether a pod keeps GPUs from others: it has a node, and its containers aren't over."""
    return bool(spec_of(pod).get("nodeName")) and not _is_over(pod) and podtemplate.gpus(pod) > 0


def _is_over(pod: Object) -> bool:
    return status_of(pod).get("phase") in ("Succeeded", "Failed")


def _scheduled(pod: Object) -> datetime | None:
    said = condition(pod, "PodScheduled") or {}
    return timestamps.parse(said.get("lastTransitionTime"))


def _kernel_of(pod: Object) -> Key | None:
    reference = controller(pod, JUPYTER_KERNELS.kind)
    return Key(namespace_of(pod), reference["name"]) if reference else None


def _account(pod: Object, kernel: Object | None) -> Account:
    if kernel is not None:
        spec = spec_of(kernel)
        return Account(spec.get("owner") or "", spec.get("kernelSpecName") or "")
    # Deleted, while its pod is not: labels have these words, long ones shortened.
    labels = pod["metadata"].get("labels") or {}
    return Account(labels.get(LABEL_OWNER, ""), labels.get(LABEL_KERNEL_SPEC, ""))


def _server_of(kernel: Object) -> str | None:
    """The server that it was started from, if from any."""
    spec = spec_of(kernel)
    if spec.get("server") is None and not spec.get("notebook"):
        return None
    return homes.server_of_kernel(kernel)


def _is_busy(kernel: Object) -> bool:
    activity: Object = status_of(kernel).get("activity") or {}
    return activity.get("executionState") == BUSY
