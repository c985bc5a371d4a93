"""Kinds that users have defined: the garbage collector looks after their objects, too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from modelport.control.cache import Cache, Change
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.condition import is_true
from modelport.kube.part import objects
from modelport.kube.resource import Object, Resource
from modelport.local.workloads.claim import INDEXES
from modelport.local.workloads.garbage import Garbage
from modelport.local.workloads.part import part


class Defined:
    """Follows definitions: a cache for each kind, as long as it is there."""

    def __init__(
        self, client: Client, definitions: Cache, garbage: Garbage, known: Collection[Resource]
    ) -> None:
        self._client, self._definitions, self._garbage = client, definitions, garbage
        self._known = {one.qualified for one in known}
        self._running: dict[str, tuple[Resource, asyncio.Task[None]]] = {}
        self.queue: Queue[str] = Queue()
        definitions.subscribe(self._changed)

    def _changed(self, change: Change) -> None:
        self.queue.add(change.object["metadata"]["name"])

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            await self.queue.work(self.reconcile)
        finally:
            for name in list(self._running):
                await self._stop(name)

    async def reconcile(self, name: str) -> float | None:
        """Looks at one definition."""
        definition = self._definitions.get(None, name)
        established = definition is not None and is_true(definition, "Established")
        wanted = resource_of(definition) if definition is not None and established else None
        known = self._running.get(name)
        if name in self._known or (known is not None and known[0] == wanted):
            return None
        if known is not None:
            await self._stop(name)
        if wanted is not None:
            cache = Cache(self._client, wanted, indexes={"owner": INDEXES["owner"]})
            self._garbage.include(wanted, cache)
            self._running[name] = (wanted, asyncio.create_task(cache.run()))
        return None

    async def _stop(self, name: str) -> None:
        resource, task = self._running.pop(name)
        self._garbage.exclude(resource)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def resource_of(definition: Object) -> Resource:
    """The kind as the API server serves it: in its stored version, or another one where that is not served."""
    spec = part(definition, "spec")
    versions = sorted(objects(spec.get("versions")), key=lambda one: not one.get("storage"))
    version = next((one for one in versions if one.get("served")), versions[0])
    names = part(spec, "names")
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec.get("scope") == "Namespaced",
    )
