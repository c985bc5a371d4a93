"""Volumes of running pods follow the Secrets and ConfigMaps that they are made from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from modelport.control.cache import Cache, Change
from modelport.kube.client import Client
from modelport.kube.resource import CONFIG_MAP, SECRET, Resource

log = logging.getLogger(__name__)
Name = tuple[str, str, str]
"""Kind, namespace and name."""


class Sources:
    """Tells pods that an object has changed which they are made from. Watches nothing while no pod asks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asking: dict[str, tuple[set[Name], Callable[[], None]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, uid: str, names: set[Name], tell: Callable[[], None]) -> None:
        """Calls `tell` whenever one of these may have changed, until `leave`."""
        self._asking[uid] = (names, tell)
        for resource in (SECRET, CONFIG_MAP):
            if resource.kind not in self._tasks and any(kind == resource.kind for kind, _, _ in names):
                self._tasks[resource.kind] = asyncio.create_task(self._watch(resource))

    def leave(self, uid: str) -> None:
        """A pod asks no longer."""
        self._asking.pop(uid, None)

    async def close(self) -> None:
        """Ends all watches."""
        for task in self._tasks.values():
            task.cancel()
        for task in self._tasks.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self, resource: Resource) -> None:
        def changed(change: Change) -> None:
            meta = change.object["metadata"]
            name = (resource.kind, meta.get("namespace", ""), meta["name"])
            for names, tell in list(self._asking.values()):
                if name in names:
                    tell()

        cache = Cache(self._client, resource)
        cache.subscribe(changed)
        await cache.run()
