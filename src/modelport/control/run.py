"""Runs the control loops against one API server until cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from modelport.control.inferenceservice import Loop
from modelport.control.seed import seed as plant
from modelport.control.stored import Stored
from modelport.kube.client import Client

WORKERS = 4


async def run(
    client: Client, version: str, *, seed: bool, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Every loop. `seed`: first make what a new platform holds."""
    if seed:
        await plant(client, version)
    loop, stored = Loop(client, version, clock), Stored(client, clock)
    caches = [*loop.caches, *stored.caches]
    async with asyncio.TaskGroup() as group:
        for cache in caches:
            group.create_task(cache.run())
        for cache in caches:
            await cache.synced.wait()
        for _ in range(WORKERS):
            group.create_task(loop.queue.work(loop.reconcile))
        group.create_task(stored.queue.work(stored.reconcile))
