"""A cache that also knows what has just been written through it, before the watch tells.

A loop that decides from a cache alone decides twice: the pod that it created a millisecond ago is not there yet.
Kubernetes' controllers count expectations for that. Here the API server's answer to each write is laid over the cache
until the watch has caught up; where no answer came, the object is asked for before anything is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

import msgspec

from modelport.control.cache import Cache, Change, Key, key_of
from modelport.kube.client import Client, Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.resource import Object, Resource

LATE_S = 5.0
"""A watch that has not shown a write for so long may never show it (created and deleted between two lists): ask."""

Indexes = dict[str, Callable[[Object], Iterable[str]]]


class _Written(msgspec.Struct):
    """What the API server answered to our last write of an object."""

    object: Object | None
    """None: it is gone."""
    uid: str
    version: int
    at: float


class View:
    """The objects of one resource, our own writes included. Treat what it returns as read-only."""

    def __init__(self, client: Client, resource: Resource, indexes: Indexes | None = None) -> None:
        self.resource = resource
        self.cache = Cache(client, resource, indexes=indexes)
        self.cache.subscribe(self._caught_up)
        self._client = client
        self._indexers = indexes or {}
        self._written: dict[Key, _Written] = {}
        self._uncertain: set[Key] = set()
        """Writes without an answer: they may have happened."""
        self._flying: dict[Key, int] = {}
        self._gone_meanwhile: set[str] = set()
        """What the watch showed as deleted while an answer about it was still to come."""

    @property
    def check_in_s(self) -> float | None:
        """Seconds after which somebody should `settle`: a reconcile that decided with unseen writes comes back then."""
        if self._uncertain:
            return 0.0
        if not self._written:
            return None
        oldest = min(written.at for written in self._written.values())
        return max(0.0, oldest + LATE_S - asyncio.get_running_loop().time()) + 0.01

    def get(self, namespace: str | None, name: str) -> Object | None:
        """One object."""
        written = self._written.get((namespace or "", name))
        return self.cache.get(namespace, name) if written is None else written.object

    def all(self, namespace: str | None = None) -> Iterator[Object]:
        """All objects, or those of a namespace."""
        for item in self.cache.all(namespace):
            if key_of(item) not in self._written:
                yield item
        for key, written in list(self._written.items()):
            if written.object is not None and namespace in (None, key[0]):
                yield written.object

    def by(self, index: str, value: str) -> list[Object]:
        """The objects that the index files under `value`, by key."""
        found = self.cache.by(index, value)
        if not self._written:
            return found
        indexer = self._indexers[index]
        found = [item for item in found if key_of(item) not in self._written]
        found += [
            written.object
            for written in self._written.values()
            if written.object is not None and value in indexer(written.object)
        ]
        return sorted(found, key=key_of)

    async def settle(self) -> None:
        """Finds out what became of writes without an answer, and of those that no watch has shown. Call it before
        deciding. Raises Unreachable."""
        now = asyncio.get_running_loop().time()
        late = [key for key, written in self._written.items() if now - written.at > LATE_S]
        for key in [*self._uncertain, *late]:
            found = await self._client.find(self.resource, key[0] or None, key[1])
            self._uncertain.discard(key)
            known = self.cache.get(*key)
            if found is None and known is None:
                self._written.pop(key, None)
            else:
                uid = (found or known or {})["metadata"]["uid"]
                self._remember(key, found, uid)

    async def create(self, body: Object) -> Object:
        """POST."""
        key = key_of(body)
        return await self._write(key, self._client.create(self.resource, body))

    async def replace(self, body: Object, *, subresource: str = "") -> Object:
        """PUT, only if nobody changed the object since it was read (its resourceVersion)."""
        return await self._write(
            key_of(body), self._client.replace(self.resource, body, subresource=subresource)
        )

    async def patch(self, item: Object, metadata: Object) -> Object:
        """Merges into the metadata of this very object, only if nobody changed it since it was read."""
        meta = item["metadata"]
        body = {"metadata": metadata | {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
        key = key_of(item)
        return await self._write(key, self._client.patch(self.resource, key[0] or None, key[1], body))

    async def delete(self, item: Object, propagation: str = "Background") -> None:
        """Deletes this very object; that it is gone already is fine."""
        key, uid = key_of(item), item["metadata"]["uid"]
        try:
            answer = await self._client.delete(
                self.resource, key[0] or None, key[1], propagation=propagation, uid=uid
            )
        except Unreachable:
            self._uncertain.add(key)
            raise
        except ApiError as error:
            # Gone, or another object has its name: ask, where the watch does not tell first.
            if error.code not in (404, 409):
                raise
            self._uncertain.add(key)
            return
        meta: Object = answer.get("metadata") or {}
        lingers = meta.get("deletionTimestamp") and (
            meta.get("deletionGracePeriodSeconds") or meta.get("finalizers")
        )
        self._remember(key, answer if lingers else None, uid)

    async def _write(self, key: Key, request: Awaitable[Object]) -> Object:
        self._flying[key] = self._flying.get(key, 0) + 1
        try:
            answer = await request
        except Unreachable:
            self._uncertain.add(key)
            raise
        except ApiError as error:
            if error.reason in ("AlreadyExists", "NotFound"):
                self._uncertain.add(key)
            raise
        finally:
            self._flying[key] -= 1
            if not self._flying[key]:
                del self._flying[key]
        named = {"apiVersion": self.resource.api_version, "kind": self.resource.kind}
        uid: str = answer["metadata"]["uid"]
        if uid in self._gone_meanwhile:
            self._gone_meanwhile.discard(uid)
        else:
            self._remember(key, named | answer, uid)
        return named | answer

    def _remember(self, key: Key, item: Object | None, uid: str) -> None:
        known = self.cache.get(*key)
        if item is None:
            if known is None or known["metadata"]["uid"] != uid:
                self._written.pop(key, None)  # the watch was faster
                return
            version = _version(known)
        else:
            version = _version(item)
            if known is not None and _version(known) >= version:
                self._written.pop(key, None)
                return
        self._written[key] = _Written(item, uid, version, asyncio.get_running_loop().time())

    def _caught_up(self, change: Change) -> None:
        key = key_of(change.object)
        if change.new is None and key in self._flying:
            self._gone_meanwhile.add(change.object["metadata"]["uid"])
        written = self._written.get(key)
        if written is None:
            return
        if change.new is None:
            seen = change.object["metadata"]["uid"] == written.uid
        elif written.object is None:
            seen = change.new["metadata"]["uid"] != written.uid
        else:
            seen = _version(change.new) >= written.version
        if seen:
            del self._written[key]


def _version(item: Object) -> int:
    """Versions of one resource are comparable (KEP-5504); where they are no numbers, what comes is newer."""
    text: str = item["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0
