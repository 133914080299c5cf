"""A local copy of one kind, kept current by list and watch.

Consumers are level-based: they are told the key of what changed and look at the copy. Whether a
change came by an event or by a new list makes no difference to them, and must not.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from hub_service.kube.backoff import Backoff
from hub_service.kube.client import Cluster, ResourceType
from hub_service.kube.errors import ApiError
from hub_service.kube.observer import Nobody, Observer
from hub_service.kube.store import Change, Indexer, Key, Object, Store, as_number

log = logging.getLogger(__name__)

OnChange = Callable[[Key, Object | None, Object | None], None]
Predicate = Callable[[Object | None], bool]

# A watch that lived this long, or brought anything, was a working one.
_LONG_ENOUGH = 10.0
# The server ends a watch after this many seconds. Where not even that end arrives, the connection
# leads nowhere, which nothing else would tell: for so long kernels' starts would seem to hang.
_WATCH_TIMEOUT = 25.0
_SILENCE = 30.0


class _Waiter(NamedTuple):
    predicate: Predicate
    future: asyncio.Future[Object | None]


@dataclass
class _Source:
    """One namespace (None: all there are), and how far it was read."""

    namespace: str | None
    backoff: Backoff
    resource_version: str | None = None  # None: list before watching
    is_listed: bool = False


class Reflector:
    """Lists a kind, then watches it from there; `run` goes on until cancelled.

    A watch that ends or breaks is taken up where it was. Where the server no longer has the
    history (410), or an event could not be read, everything is listed anew, and what differs is
    reported like any other change. Failures are retried with growing delays.

    namespace: one, several, or all (None).

    `on_change(key, old, new)` is called on the event loop, in order, and must not block; `old` and
    `new` are there to compute which other keys are concerned. Objects in `store` are shared: never
    change them.
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: ResourceType,
        namespace: str | Collection[str] | None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_change: OnChange | None = None,
        indexers: Mapping[str, Indexer] | None = None,
        watch_timeout: float = _WATCH_TIMEOUT,
        silence: float = _SILENCE,
        backoff: Callable[[], Backoff] = lambda: Backoff(0.1, 30.0),
    ) -> None:
        self.store = Store(indexers)
        self._cluster = cluster
        self._resource = resource
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._listeners: list[OnChange] = [on_change] if on_change else []
        self._watch_timeout = watch_timeout
        self._silence = silence
        several = [namespace] if namespace is None or isinstance(namespace, str) else namespace
        self._sources = {name: _Source(name, backoff()) for name in several}
        self._synced = asyncio.Event()
        self._waiters: dict[Key, list[_Waiter]] = {}
        self._observer: Observer = Nobody()

    def observed_by(self, observer: Observer) -> None:
        """Tell it of each watch that breaks."""
        self._observer = observer

    def subscribe(self, on_change: OnChange) -> None:
        """Tell this one as well of every change from now on."""
        self._listeners.append(on_change)

    @contextmanager
    def subscribed(self, on_change: OnChange) -> Iterator[None]:
        """Tell this one as well, in the block."""
        self._listeners.append(on_change)
        try:
            yield
        finally:
            self._listeners.remove(on_change)

    async def refresh(self) -> None:
        """Take in the state of now, so that the copy isn't older than this call. Raises ApiError.

        The watch goes on from where it is; what it still sends of older versions is left aside.
        """
        await self._synced.wait()
        for source in self._sources.values():
            version, items = await self._listed(source)
            changes = self.store.replace(
                items, version, namespace=source.namespace, watch_is_behind=True
            )
            for change in changes:
                self._tell(change)

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources.values():
                group.create_task(self._run(source))

    async def _run(self, source: _Source) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                if source.resource_version is None:
                    await self._list(source)
                await self._watch(source)
            except ApiError as error:
                if error.status == 410 or error.reason == "MalformedEvent":
                    source.resource_version = None
                log.warning("%s: %s; trying again", self, error)
                self._observer.watch_broke(self._resource.plural, error.reason)
            if loop.time() - started > _LONG_ENOUGH:
                source.backoff.reset()
            await asyncio.sleep(source.backoff.next())

    async def synced(self, timeout: float | None = None) -> None:
        """Wait for the first complete list. Raises TimeoutError, naming the kind."""
        try:
            async with asyncio.timeout(timeout):
                await self._synced.wait()
        except TimeoutError:
            raise TimeoutError(f"{self}: not listed within {timeout} s") from None

    @property
    def is_synced(self) -> bool:
        """Whether the first list is there."""
        return self._synced.is_set()

    async def wait_for(
        self,
        key: Key | tuple[str, str],
        predicate: Predicate,
        timeout: float | None = None,
    ) -> Object | None:
        """Wait until `predicate` is true of the object under `key` (None while there is none).

        Looks now and at every change; returns the object it was true of. Raises TimeoutError.
        Changes that follow each other closely may be seen as one.
        """
        key = Key(*key)
        async with asyncio.timeout(timeout):
            await self._synced.wait()
            item = self.store.get(key)
            if predicate(item):
                return item
            waiter = _Waiter(predicate, asyncio.get_running_loop().create_future())
            self._waiters.setdefault(key, []).append(waiter)
            try:
                return await waiter.future
            finally:
                self._waiters[key].remove(waiter)
                if not self._waiters[key]:
                    del self._waiters[key]

    def record(self, item: Object) -> None:
        """Take in the server's answer to a write, so that the copy isn't behind one's own writes.

        Left out where the watch has been past it already: the object may be gone since.
        """
        metadata = item["metadata"]
        source = self._sources.get(metadata.get("namespace")) or self._sources.get(None)
        if source is None:
            return
        if as_number(metadata.get("resourceVersion")) > as_number(source.resource_version):
            self._tell(self.store.record(_compact(item)))

    async def _listed(self, source: _Source) -> tuple[str, list[Object]]:
        result = await self._cluster.list(
            self._resource,
            source.namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        items = [_compact(item) for item in result.get("items") or []]
        return str(result["metadata"]["resourceVersion"]), items

    async def _list(self, source: _Source) -> None:
        version, items = await self._listed(source)
        changes = self.store.replace(items, version, namespace=source.namespace)
        source.resource_version = version
        source.is_listed = True
        if all(one.is_listed for one in self._sources.values()):
            self._synced.set()
        for change in changes:
            self._tell(change)

    async def _watch(self, source: _Source) -> None:
        assert source.resource_version is not None  # noqa: S101 - set by _list
        events = self._cluster.watch(
            self._resource,
            source.namespace,
            source.resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout=self._watch_timeout,
            silence=self._silence,
        )
        async with aclosing(events):
            async for kind, item in events:
                source.backoff.reset()
                source.resource_version = item["metadata"]["resourceVersion"]
                if kind == "BOOKMARK":
                    continue
                take = self.store.remove if kind == "DELETED" else self.store.put
                change = take(_compact(item))
                if change is not None:
                    self._tell(change)

    def _tell(self, change: Change) -> None:
        for waiter in self._waiters.get(change.key, ()):
            _try(waiter, change.new)
        for listener in self._listeners:
            try:
                listener(*change)
            except Exception:
                # It fails at one object, perhaps at a user's: the others are not to wait for that.
                log.exception("%s: a listener failed at %s", self, change.key)

    def __str__(self) -> str:
        where = ", ".join(name or "all namespaces" for name in self._sources)
        return f"watch of {self._resource.plural} in {where}"


def _compact(item: Object) -> Object:
    """The object in a third of the memory: without what only the server reads, words shared."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    result: Object = _shared({**item, "metadata": metadata})
    return result


def _shared(value: Any) -> Any:
    """The same with one string for each name of a field and each word, however many have it."""
    if type(value) is dict:
        return {sys.intern(name): _shared(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_shared(inner) for inner in value]
    # What is not a word is mostly different in each: names, uids, times.
    return sys.intern(value) if type(value) is str and value.isalpha() else value


def _try(waiter: _Waiter, item: Object | None) -> None:
    if waiter.future.done():
        return
    try:
        if waiter.predicate(item):
            waiter.future.set_result(item)
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        waiter.future.set_exception(error)
