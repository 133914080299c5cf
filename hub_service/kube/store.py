"""What a reflector knows of one kind: objects by key, with indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Object = dict[str, Any]


class Key(NamedTuple):
    """Where an object is; `namespace` is empty for cluster-wide kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(item: Object) -> Key:
    """The key of an object."""
    metadata = item["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


class Change(NamedTuple):
    """The object under a key before and after; None where there was or is none."""

    key: Key
    old: Object | None
    new: Object | None


Indexer = Callable[[Object], str | None]


class Store:
    """Objects by key, found by index as well.

    `indexers` maps an index's name to a function from an object to the value that it is found
    under (None: not in this index).
    """

    def __init__(self, indexers: Mapping[str, Indexer] | None = None) -> None:
        self._objects: dict[Key, Object] = {}
        self._indexers = dict(indexers or {})
        self._indexes: dict[str, dict[str, dict[Key, Object]]] = {n: {} for n in self._indexers}
        self._ahead: set[Key] = set()  # recorded, and not seen from the watch yet

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def get(self, key: Key | tuple[str, str]) -> Object | None:
        """The object under that key."""
        return self._objects.get(Key(*key))

    def by_index(self, index: str, value: str) -> list[Object]:
        """The objects that the index has under that value."""
        return list(self._indexes[index].get(value, {}).values())

    def put(self, item: Object) -> Change | None:
        """Take in an object that the server listed or sent; None where nothing changes by it."""
        key = key_of(item)
        old = self._objects.get(key)
        if old is not None and self._is_ahead(key, _version(item)):
            return None
        self._ahead.discard(key)
        if old is not None and _version(old) == _version(item) > 0:
            return None
        self._set(key, item)
        return Change(key, old, item)

    def record(self, item: Object) -> Change:
        """Take in the server's answer to a write, before the watch brings it.

        Until then, what the watch still sends of older versions is left aside.
        """
        key = key_of(item)
        old = self._objects.get(key)
        self._ahead.add(key)
        self._set(key, item)
        return Change(key, old, item)

    def remove(self, item: Object) -> Change | None:
        """Take out an object that was deleted; None where it isn't there, or a newer one is."""
        key = key_of(item)
        old = self._objects.get(key)
        if old is None or self._is_ahead(key, _version(item)):
            return None
        self._ahead.discard(key)
        self._set(key, None)
        return Change(key, old, None)

    def replace(
        self,
        items: Iterable[Object],
        resource_version: str,
        *,
        namespace: str | None = None,
        watch_is_behind: bool = False,
    ) -> list[Change]:
        """Take a whole list as the truth at `resource_version`; the differences come back.

        namespace: what the list is of; None: of all there is. watch_is_behind: the watch goes on
        from before the list, and what it sends of older versions is to be left aside.

        Recorded answers that are newer than the list stay.
        """
        listed = {key_of(item): item for item in items}
        at = as_number(resource_version)
        changes = []
        held = [key for key in self._objects if namespace in (None, key.namespace)]
        for key in [key for key in held if key not in listed]:
            if self._is_ahead(key, at):
                continue
            gone = self._objects[key]
            self._ahead.discard(key)
            self._set(key, None)
            changes.append(Change(key, gone, None))
        for key, item in listed.items():
            old = self._objects.get(key)
            if watch_is_behind and (old is None or _version(old) < _version(item)):
                changes.append(self.record(item))
                continue
            change = self.put(item)
            if change is not None:
                changes.append(change)
        return changes

    def _is_ahead(self, key: Key, version: int) -> bool:
        return key in self._ahead and _version(self._objects[key]) > version

    def _set(self, key: Key, item: Object | None) -> None:
        old = self._objects.pop(key, None)
        for index, indexer in self._indexers.items():
            entries = self._indexes[index]
            if old is not None and (value := indexer(old)) is not None:
                entries[value].pop(key)
                if not entries[value]:
                    del entries[value]
            if item is not None and (value := indexer(item)) is not None:
                entries.setdefault(value, {})[key] = item
        if item is not None:
            self._objects[key] = item


def _version(item: Object) -> int:
    return as_number(item["metadata"].get("resourceVersion"))


def as_number(resource_version: str | None) -> int:
    """Resource versions of one kind are ordered numbers; 0 where a server does otherwise."""
    return int(resource_version) if resource_version and resource_version.isdigit() else 0
