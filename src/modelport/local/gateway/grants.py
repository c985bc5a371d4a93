"""Gateway API's ReferenceGrants: a kind that is served once somebody has applied its definition, and only then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from modelport.control.cache import Cache, Change
from modelport.kube.client import Client
from modelport.kube.condition import is_true
from modelport.kube.part import mapping, objects
from modelport.kube.resource import CUSTOM_RESOURCE_DEFINITION, Object, Resource
from modelport.local.gateway.spec import GROUP

PLURAL = "referencegrants"


class Grants:
    """Follows the definition, and the grants as long as it is there."""

    def __init__(self, client: Client, changed: Callable[[Change], None]) -> None:
        """`changed` hears of every grant that comes, changes or goes."""
        self._client, self._changed = client, changed
        self._definitions = Cache(
            client, CUSTOM_RESOURCE_DEFINITION, fields=f"metadata.name={PLURAL}.{GROUP}"
        )
        self._definitions.subscribe(lambda change: self._dirty.set())
        self._dirty = asyncio.Event()
        self._running: tuple[Resource, Cache, asyncio.Task[None]] | None = None
        self.synced = asyncio.Event()
        """Set once the grants are known, if there can be any."""

    def all(self) -> list[Object]:
        """Those that there are."""
        return [] if self._running is None else list(self._running[1].all())

    async def run(self) -> None:
        """Until cancelled."""
        following = asyncio.create_task(self._definitions.run())
        try:
            await self._definitions.synced.wait()
            while True:
                self._dirty.clear()
                await self._follow(_served(next(iter(self._definitions.all()), None)))
                self.synced.set()
                await self._dirty.wait()
        finally:
            following.cancel()
            await self._stop()

    async def _follow(self, wanted: Resource | None) -> None:
        if (self._running and self._running[0]) == wanted:
            return
        await self._stop()
        if wanted is not None:
            cache = Cache(self._client, wanted)
            cache.subscribe(self._changed)
            self._running = (wanted, cache, asyncio.create_task(cache.run()))
            await cache.synced.wait()

    async def _stop(self) -> None:
        if self._running is None:
            return
        _, cache, task = self._running
        self._running = None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for grant in cache.all():  # they went with their definition
            self._changed(Change(grant, None))


def _served(definition: Object | None) -> Resource | None:
    """The kind as it is served; None while it is not."""
    if definition is None or not is_true(definition, "Established"):
        return None
    versions = [one for one in objects(mapping(definition.get("spec")).get("versions")) if one.get("served")]
    version = next((one for one in versions if one.get("storage")), versions[0] if versions else None)
    if version is None:
        return None
    return Resource(group=GROUP, version=version["name"], kind="ReferenceGrant", plural=PLURAL)
