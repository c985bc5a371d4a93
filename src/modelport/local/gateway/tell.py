"""Writes the status of HTTPRoutes, Gateways and GatewayClasses: what was decided of them, and whether it is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec

from modelport.control.cache import Cache, key_of
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.resource import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE, Object, Resource
from modelport.local.gateway.force import Force
from modelport.local.gateway.spec import CONTROLLER, Verdict
from modelport.local.gateway.status import (
    PROGRAMMED,
    class_status,
    gateway_status,
    is_news,
    pending,
    route_status,
)
from modelport.local.gateway.translate import Seen, Translation

GRACE_S = 3.0
"""What is not in force yet is not talked about before this: mostly it is in a moment."""
WORKERS = 4


class Ref(msgspec.Struct, frozen=True):
    """One object to look at."""

    kind: str
    namespace: str
    name: str


class Tell:
    """Keeps status true."""

    def __init__(
        self,
        client: Client,
        caches: dict[str, Cache],
        force: Force,
        address: str,
        now: Callable[[], datetime],
    ) -> None:
        self._client, self._force, self._address, self._now = client, force, address, now
        self._caches = {HTTP_ROUTE.kind: caches["routes"], GATEWAY.kind: caches["gateways"]}
        self._caches[GATEWAY_CLASS.kind] = caches["classes"]
        self._decided: Translation | None = None
        self._generations: dict[Ref, int | None] = {}
        """Of the objects, as they were decided upon."""
        self._due: dict[Ref, float] = {}
        """Until when an object's coming into force is waited for."""
        self.queue: Queue[Ref] = Queue()
        for cache in self._caches.values():
            cache.subscribe(lambda change: self._add(change.object))

    async def run(self) -> None:
        """Works until cancelled."""
        await asyncio.gather(*(self.queue.work(self.reconcile) for _ in range(WORKERS)))

    def _add(self, item: Object) -> None:
        self.queue.add(Ref(item["kind"], *key_of(item)))

    def decided(self, found: Translation, seen: Seen) -> None:
        """Everything in `seen` has been decided upon anew, and written."""
        before, known = self._decided, self._generations
        self._decided = found
        self._generations = {
            Ref(kind, *key_of(item)): item["metadata"].get("generation")
            for kind, items in ((HTTP_ROUTE.kind, seen.routes), (GATEWAY.kind, seen.gateways))
            for item in items
        }
        for ref, generation in self._generations.items():
            key = (ref.namespace, ref.name)
            is_same = before is not None and known.get(ref, -1) == generation
            if ref.kind == HTTP_ROUTE.kind:
                is_same = is_same and before is not None and before.routes.get(key) == found.routes.get(key)
            else:
                is_same = is_same and before is not None and before.gateways.of(key) == found.gateways.of(key)
            if not is_same:
                self.queue.add(ref)
        for item in self._caches[GATEWAY_CLASS.kind].all():
            self._add(item)

    def in_force(self) -> None:
        """Something has come into force, or cannot, or is not in force any more: looks at all that waits for it."""
        for ref in self._due:
            self.queue.add(ref)
        for item in self._caches[HTTP_ROUTE.kind].all():
            ref = Ref(HTTP_ROUTE.kind, *key_of(item))
            if ref not in self._due and not self._force.in_force(f"{ref.namespace}/{ref.name}"):
                self.queue.add(ref)
        for item in self._caches[GATEWAY.kind].all():
            self._add(item)

    async def reconcile(self, ref: Ref) -> float | None:
        """Looks at one object."""
        item = self._caches[ref.kind].get(ref.namespace, ref.name)
        if item is None or self._decided is None:
            self._due.pop(ref, None)
            return None
        if ref.kind == GATEWAY_CLASS.kind:
            if item["spec"].get("controllerName") == CONTROLLER:
                await self._write(GATEWAY_CLASS, item, class_status(item, self._now()))
            return None
        if self._generations.get(ref, -1) != item["metadata"].get("generation"):
            return None  # changed since: it is decided upon in a moment
        key = (ref.namespace, ref.name)
        is_route = ref.kind == HTTP_ROUTE.kind
        in_force = self._force.in_force("/".join(key)) if is_route else self._force.acknowledged >= 0
        wait_s = self._wait_s(ref, good=in_force and (is_route or not self._force.problem))
        if wait_s:
            return wait_s
        programmed = (
            PROGRAMMED if ref not in self._due else pending(self._force.problem or "it is being taken over")
        )
        if is_route:
            status = route_status(item, self._decided.routes.get(key, []), programmed, self._now())
            if is_news(item, status):
                await self._write(HTTP_ROUTE, item, status)
        else:
            await self._write(GATEWAY, item, self._of_gateway(self._decided, item, programmed))
        return None

    def _wait_s(self, ref: Ref, *, good: bool) -> float:
        """Seconds for which an object's coming into force is still waited for."""
        if good:
            self._due.pop(ref, None)
            return 0.0
        now = asyncio.get_running_loop().time()
        return max(0.0, self._due.setdefault(ref, now + GRACE_S) - now)

    def _of_gateway(self, decided: Translation, item: Object, programmed: Verdict) -> Object | None:
        key = key_of(item)
        told = decided.gateways.of(key)
        if told.spec is None:
            return None
        return gateway_status(item, told, programmed, self._address, self._now())

    async def _write(self, kind: Resource, item: Object, status: Object | None) -> None:
        if status is None or status == (item.get("status") or {}):
            return
        try:
            await self._client.replace(kind, item | {"status": status}, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
