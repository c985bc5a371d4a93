"""A local copy of a collection, kept true by list and watch.

States: listing → watching → (closed: watching again from the last version | too old: listing | unreachable: back-off).
Handlers hear of every change, also of those found by comparing a new list with the old copy.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import msgspec

from modelport.kube.client import Client, Event, Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.resource import Object, Resource

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.1, 5.0


class Change(msgspec.Struct, frozen=True):
    """What happened to an object: `old` is None when it came, `new` when it went."""

    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """The object as it is, or as it last was."""
        return self.new if self.new is not None else self.old or {}


def key_of(item: Object) -> Key:
    """Where an object is found."""
    meta = item["metadata"]
    return meta.get("namespace") or "", meta["name"]


class Cache:
    """The objects of one resource. Treat what it returns as read-only."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        indexes: dict[str, Callable[[Object], Iterable[str]]] | None = None,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        """Set once the first list has arrived."""
        self._client = client
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._objects: dict[Key, Object] = {}
        self._indexers = indexes or {}
        self._indexes: dict[str, dict[str, set[Key]]] = {name: {} for name in self._indexers}
        self._handlers: list[Callable[[Change], None]] = []

    def subscribe(self, handler: Callable[[Change], None]) -> None:
        """Calls `handler` for every change from now on; it must not block."""
        self._handlers.append(handler)

    def get(self, namespace: str | None, name: str) -> Object | None:
        """One object."""
        return self._objects.get((namespace or "", name))

    def all(self, namespace: str | None = None) -> Iterator[Object]:
        """All objects, or those of a namespace."""
        return (item for key, item in list(self._objects.items()) if namespace is None or key[0] == namespace)

    def by(self, index: str, value: str) -> list[Object]:
        """The objects that the index files under `value`, by key."""
        return [self._objects[key] for key in sorted(self._indexes[index].get(value, ()))]

    def __len__(self) -> int:
        return len(self._objects)

    async def run(self) -> None:
        """Keeps the copy true until cancelled."""
        back_off = FIRST_BACK_OFF_S
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list()
                    self.synced.set()
                async for event in self._watch(version):
                    back_off = FIRST_BACK_OFF_S
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self._put(event.object, gone=event.type == "DELETED")
            except ApiError as error:
                if error.code == 410:
                    version = None
                    continue
                log.warning("watching %s: %s", self.resource.qualified, error)
                version = None
            except Unreachable as error:
                log.debug("watching %s: %s", self.resource.qualified, error)
            else:
                await asyncio.sleep(0)
                continue
            await asyncio.sleep(back_off * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            back_off = min(back_off * 2, LONGEST_BACK_OFF_S)

    def _watch(self, since: str) -> AsyncIterator[Event]:
        return self._client.watch(
            self.resource, self._namespace, since=since, labels=self._labels, fields=self._fields
        )

    async def _list(self) -> str:
        listing = await self._client.list(
            self.resource, self._namespace, labels=self._labels, fields=self._fields
        )
        found = {key_of(item): item for item in listing.items}
        for key in self._objects.keys() - found.keys():
            self._put(self._objects[key], gone=True)
        for key, item in found.items():
            known = self._objects.get(key)
            if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._put(item, gone=False)
        return listing.resource_version

    def _put(self, item: Object, *, gone: bool) -> None:
        key = key_of(item)
        old = self._objects.pop(key, None)
        if old is None and gone:
            return
        self._file(key, old, add=False)
        if not gone:
            self._objects[key] = item
            self._file(key, item, add=True)
        change = Change(old, None if gone else item)
        for handler in self._handlers:
            handler(change)

    def _file(self, key: Key, item: Object | None, *, add: bool) -> None:
        if item is None:
            return
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            for value in indexer(item):
                if add:
                    index.setdefault(value, set()).add(key)
                elif value in index:
                    index[value].discard(key)
                    if not index[value]:
                        del index[value]
