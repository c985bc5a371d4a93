"""The garbage collector: what belongs to nobody any more goes; who waits for its dependents, or lets them go free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from modelport.control.cache import Cache, Change, key_of
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.meta import owners_of
from modelport.kube.resource import Object, Resource
from modelport.local.workloads.part import namespace_of

log = logging.getLogger(__name__)
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
WORKERS = 4

State = Literal["present", "waiting", "absent", "unknown"]
"""Of an owner: there; there, but waiting in foreground deletion for its dependents; gone; of a kind that we do not know."""


class Ref(msgspec.Struct, frozen=True):
    """One object to look at."""

    kind: str
    """`plural.group`."""
    namespace: str
    name: str


class Judgement(msgspec.Struct, frozen=True):
    """What is to become of an object."""

    delete: str = ""
    """Propagation policy with which it goes; empty: it stays."""
    drop: tuple[str, ...] = ()
    """Uids of owners that it stays without."""


def judge(item: Object, owners: Iterable[tuple[Object, State]], has_dependents: bool) -> Judgement:
    """From its owner references, each with what is known of the owner. An owner that cannot be known keeps it."""
    found = list(owners)
    if not found or item["metadata"].get("deletionTimestamp"):
        return Judgement()
    stays = any(state in ("present", "unknown") for _, state in found)
    if stays:
        return Judgement(drop=tuple(ref["uid"] for ref, state in found if state in ("absent", "waiting")))
    waiting = any(state == "waiting" for _, state in found)
    # Whoever waits for it waits for its dependents too.
    return Judgement(delete=_policy(item, "Foreground" if waiting and has_dependents else "Background"))


def _policy(item: Object, default: str) -> str:
    """The finalizers that somebody has asked for already decide."""
    asked = finalizers(item)
    return "Orphan" if ORPHAN in asked else "Foreground" if FOREGROUND in asked else default


def finalizers(item: Object) -> list[str]:
    """`metadata.finalizers`."""
    return list(item["metadata"].get("finalizers") or [])


def is_waiting(item: Object) -> bool:
    """Whether it is being deleted, and goes after its dependents."""
    return bool(item["metadata"].get("deletionTimestamp")) and FOREGROUND in finalizers(item)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


class Garbage:
    """Collects it. The caches need the index "owner": uids of all owners."""

    def __init__(self, client: Client, caches: Mapping[Resource, Cache]) -> None:
        self._client, self._caches = client, dict(caches)
        self._kinds = {(resource.group, resource.kind): resource for resource in caches}
        self._names = {resource.qualified: resource for resource in caches}
        self._missed: set[str] = set()
        self.queue: Queue[Ref] = Queue()
        for resource, cache in caches.items():
            cache.subscribe(lambda change, resource=resource: self._changed(resource, change))

    def include(self, resource: Resource, cache: Cache) -> None:
        """Collects a kind that has been defined meanwhile, too."""
        self._caches[resource] = cache
        self._kinds[resource.group, resource.kind] = resource
        self._names[resource.qualified] = resource
        cache.subscribe(lambda change: self._changed(resource, change))

    def exclude(self, resource: Resource) -> None:
        """The kind is gone."""
        self._caches.pop(resource, None)
        self._kinds.pop((resource.group, resource.kind), None)
        self._names.pop(resource.qualified, None)

    async def run(self) -> None:
        """Works until cancelled."""
        await asyncio.gather(*(self.queue.work(self.reconcile) for _ in range(WORKERS)))

    def _changed(self, resource: Resource, change: Change) -> None:
        old, new = change.old, change.new
        if new is not None:
            begins_to_go = bool(new["metadata"].get("deletionTimestamp")) and (
                old is None
                or finalizers(old) != finalizers(new)
                or not old["metadata"].get("deletionTimestamp")
            )
            if begins_to_go or (owners_of(new) and (old is None or owners_of(old) != owners_of(new))):
                self._add(resource, new)
            if begins_to_go and is_waiting(new):
                self._add_dependents(new)
            if old is not None and owners_of(old) != owners_of(new):
                self._add_waiting_owners(old)
            if old is not None and old["metadata"]["uid"] != new["metadata"]["uid"]:
                self._gone(old)
        elif old is not None:
            self._gone(old)

    def _gone(self, item: Object) -> None:
        self._add_dependents(item)
        self._add_waiting_owners(item)

    def _add_waiting_owners(self, item: Object) -> None:
        for reference in owners_of(item):
            resource, owner = self._owner(reference, namespace_of(item))
            if resource is not None and owner is not None and is_waiting(owner):
                self._add(resource, owner)

    def _add(self, resource: Resource, item: Object) -> None:
        self.queue.add(Ref(resource.qualified, *key_of(item)))

    def _add_dependents(self, item: Object) -> None:
        for resource, dependent in self._dependents(item):
            self._add(resource, dependent)

    def _dependents(self, item: Object) -> list[tuple[Resource, Object]]:
        uid = item["metadata"]["uid"]
        return [(resource, one) for resource, cache in self._caches.items() for one in cache.by("owner", uid)]

    def _owner(self, reference: Object, namespace: str) -> tuple[Resource | None, Object | None]:
        """The kind that a reference names, if we know it, and the very object, if it is in the cache."""
        kind = (_group(reference.get("apiVersion", "")), reference.get("kind", ""))
        resource = self._kinds.get(kind)
        if resource is None:
            return None, None
        item = self._caches[resource].get(namespace if resource.namespaced else "", reference["name"])
        return resource, item if item is not None and item["metadata"]["uid"] == reference["uid"] else None

    async def _state(self, reference: Object, item: Object) -> State:
        resource, owner = self._owner(reference, namespace_of(item))
        if resource is None or (resource.namespaced and not namespace_of(item)):
            if reference["uid"] not in self._missed:
                self._missed.add(reference["uid"])
                log.info(
                    "%s %s: its owner %s %s is of a kind that is not served here; it is kept",
                    item.get("kind"), "/".join(key_of(item)), reference.get("kind"), reference.get("name"),
                )  # fmt: skip
            return "unknown"
        if owner is None:
            # A cache alone must not sentence anybody: it may be behind.
            where = namespace_of(item) if resource.namespaced else None
            owner = await self._client.find(resource, where, reference["name"])
            if owner is None or owner["metadata"]["uid"] != reference["uid"]:
                return "absent"
        return "waiting" if is_waiting(owner) else "present"

    async def reconcile(self, ref: Ref) -> float | None:
        """Looks at one object."""
        resource = self._names.get(ref.kind)
        item = None if resource is None else self._caches[resource].get(ref.namespace, ref.name)
        if resource is None or item is None:
            return None
        if item["metadata"].get("deletionTimestamp"):
            await self._finish(resource, item)
            return None
        owners: list[tuple[Object, State]] = [
            (reference, await self._state(reference, item)) for reference in owners_of(item)
        ]
        dependents = self._dependents(item)
        judgement = judge(item, owners, bool(dependents))
        if judgement.delete == "Foreground" and any(is_waiting(one) for _, one in dependents):
            await self._unblock(resource, item)
        if judgement.delete:
            await self._delete(resource, item, judgement.delete)
        elif judgement.drop:
            await self._disown(resource, item, judgement.drop)
        return None

    async def _finish(self, resource: Resource, item: Object) -> None:
        """Carries out the collector's own finalizers."""
        asked = finalizers(item)
        if ORPHAN in asked:
            for kind, dependent in self._dependents(item):
                await self._disown(kind, dependent, (item["metadata"]["uid"],))
            await self._drop(resource, item, ORPHAN)
        elif FOREGROUND in asked:
            dependents = self._dependents(item)
            for kind, dependent in dependents:
                if not dependent["metadata"].get("deletionTimestamp"):
                    self._add(kind, dependent)  # judged like everybody: it may have another owner
            if not any(_blocks(dependent, item) for _, dependent in dependents):
                await self._drop(resource, item, FOREGROUND)

    async def _drop(self, resource: Resource, item: Object, name: str) -> None:
        await self._patch(resource, item, {"finalizers": [one for one in finalizers(item) if one != name]})

    async def _disown(self, resource: Resource, item: Object, uids: tuple[str, ...]) -> None:
        kept = [one for one in owners_of(item) if one["uid"] not in uids]
        await self._patch(resource, item, {"ownerReferences": kept})

    async def _unblock(self, resource: Resource, item: Object) -> None:
        """It would wait for who may wait for it: in a circle nobody would ever go. Its owners need not wait for it."""
        kept = [one | {"blockOwnerDeletion": False} for one in owners_of(item)]
        await self._patch(resource, item, {"ownerReferences": kept})

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
            if error.code not in (404, 409):  # gone, or another object has its name
                raise


def _blocks(dependent: Object, owner: Object) -> bool:
    """Whether the owner's deletion in the foreground waits for it."""
    return any(
        ref["uid"] == owner["metadata"]["uid"] and ref.get("blockOwnerDeletion")
        for ref in owners_of(dependent)
    )
