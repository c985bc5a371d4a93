"""The garbage collector: what belongs to nobody any more goes; who waits for its dependents, or lets them go free."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal

import msgspec

from modelport.control.cache import Cache, Change
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.meta import owners_of
from modelport.kube.resource import Object, Resource

log = logging.getLogger(__name__)
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
WORKERS = 2
Verdict = Literal["keep", "delete", "foreground"]


class Ref(msgspec.Struct, frozen=True):
    """One object to look at."""

    kind: str
    namespace: str
    name: str


def judge(item: Object, owners: Iterable[tuple[Object, Object | None]]) -> Verdict:
    """What is to become of an object, by its owner references, each with the owner that is there (same uid) or None."""
    if item["metadata"].get("deletionTimestamp"):
        return "keep"
    found = list(owners)
    if not found:
        return "keep"
    living = [owner for _, owner in found if owner is not None]
    if not living:
        return "delete"
    waiting = [o for o in living if o["metadata"].get("deletionTimestamp") and FOREGROUND in finalizers(o)]
    return "foreground" if len(waiting) == len(living) else "keep"


def finalizers(item: Object) -> list[str]:
    """`metadata.finalizers`."""
    return list(item["metadata"].get("finalizers") or [])


class Garbage:
    """Collects it."""

    def __init__(self, client: Client, caches: dict[Resource, Cache]) -> None:
        self._client = client
        self._caches = caches
        self._kinds = {(r.api_version.rpartition("/")[0], r.kind): r for r in caches}
        self.queue: Queue[Ref] = Queue()
        for resource, cache in caches.items():
            cache.subscribe(lambda change, resource=resource: self._changed(resource, change))

    async def work(self) -> None:
        """One worker, until cancelled."""
        await self.queue.work(self.reconcile)

    def _changed(self, resource: Resource, change: Change) -> None:
        item = change.object
        meta = item["metadata"]
        if change.new is not None and (meta.get("ownerReferences") or meta.get("deletionTimestamp")):
            self.queue.add(Ref(resource.qualified, meta.get("namespace") or "", meta["name"]))
        if change.new is None:
            for owner in owners_of(item):  # a foreground deletion may wait for this one
                found = self._find(owner, meta.get("namespace") or "")
                if found is not None:
                    self._add(found)
        if change.new is None or meta.get("deletionTimestamp"):
            for _, dependent in self._dependents(meta["uid"], meta.get("namespace") or ""):
                self._add(dependent)

    def _add(self, item: Object) -> None:
        resource = self._kinds[item["apiVersion"].rpartition("/")[0], item["kind"]]
        self.queue.add(
            Ref(resource.qualified, item["metadata"].get("namespace") or "", item["metadata"]["name"])
        )

    def _find(self, reference: Object, namespace: str) -> Object | None:
        """The owner that a reference means, if it is there with this uid."""
        resource = self._kinds.get(
            (reference.get("apiVersion", "").rpartition("/")[0], reference.get("kind", ""))
        )
        if resource is None:
            return None
        item = self._caches[resource].get(namespace if resource.namespaced else "", reference["name"])
        return item if item is not None and item["metadata"]["uid"] == reference["uid"] else None

    def _dependents(self, uid: str, namespace: str) -> list[tuple[Resource, Object]]:
        return [
            (resource, item)
            for resource, cache in self._caches.items()
            for item in cache.all(namespace or None)
            if any(owner["uid"] == uid for owner in owners_of(item))
        ]

    async def reconcile(self, ref: Ref) -> float | None:
        """Looks at one object."""
        resource = next(r for r in self._caches if r.qualified == ref.kind)
        item = self._caches[resource].get(ref.namespace, ref.name)
        if item is None:
            return None
        if item["metadata"].get("deletionTimestamp"):
            await self._finish(resource, item)
            return None
        owners: list[tuple[Object, Object | None]] = []
        for reference in owners_of(item):
            owner = self._find(reference, ref.namespace)
            if owner is None and await self._exists(reference, ref.namespace):
                return 1.0  # the cache has not caught up, or does not hold this kind
            owners.append((reference, owner))
        verdict = judge(item, owners)
        if verdict == "keep":
            return None
        await self._delete(resource, item, "Foreground" if verdict == "foreground" else "Background")
        return None

    async def _exists(self, reference: Object, namespace: str) -> bool:
        """Asks the API server: a cache alone must not sentence anybody."""
        resource = self._kinds.get(
            (reference.get("apiVersion", "").rpartition("/")[0], reference.get("kind", ""))
        )
        if resource is None:
            return True  # not ours to know
        found = await self._client.find(
            resource, namespace if resource.namespaced else None, reference["name"]
        )
        return found is not None and found["metadata"]["uid"] == reference["uid"]

    async def _finish(self, resource: Resource, item: Object) -> None:
        """Carries out the collector's own finalizers."""
        meta = item["metadata"]
        mine = [name for name in finalizers(item) if name in (ORPHAN, FOREGROUND)]
        if not mine:
            return
        dependents = self._dependents(meta["uid"], meta.get("namespace") or "")
        if ORPHAN in mine:
            for kind, dependent in dependents:
                kept = [one for one in owners_of(dependent) if one["uid"] != meta["uid"]]
                await self._patch(kind, dependent, {"ownerReferences": kept or None})
            await self._drop(resource, item, ORPHAN)
            return
        blocking = False
        for kind, dependent in dependents:
            holds = any(o["uid"] == meta["uid"] and o.get("blockOwnerDeletion") for o in owners_of(dependent))
            blocking = blocking or holds
            if not dependent["metadata"].get("deletionTimestamp"):
                owners = [(o, self._find(o, meta.get("namespace") or "")) for o in owners_of(dependent)]
                if judge(dependent, owners) != "keep":
                    await self._delete(kind, dependent, "Foreground")
        if not blocking:
            await self._drop(resource, item, FOREGROUND)

    async def _drop(self, resource: Resource, item: Object, name: str) -> None:
        await self._patch(
            resource, item, {"finalizers": [one for one in finalizers(item) if one != name] or None}
        )

    async def _patch(self, resource: Resource, item: Object, metadata: Object) -> None:
        meta = item["metadata"]
        body = {"metadata": metadata | {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
        try:
            await self._client.patch(resource, meta.get("namespace"), meta["name"], body)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _delete(self, resource: Resource, item: Object, propagation: str) -> None:
        meta = item["metadata"]
        try:
            await self._client.delete(
                resource, meta.get("namespace"), meta["name"], propagation=propagation, uid=meta["uid"]
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
