"""Waiting for an object to become what one wants, by its watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelport.cli.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelport.kube.client import Client
    from modelport.kube.resource import Object, Resource

GONE = 410
"""Too much has happened since: what there is now is listed anew."""


async def until(
    client: Client,
    resource: Resource,
    namespace: str,
    name: str,
    wanted: Callable[[Object | None], bool],
    timeout_s: float,
    see: Callable[[Object | None], None] = lambda item: None,
) -> bool:
    """Returns True once `wanted` holds, False when time is over. `see` gets every state, None once it is gone."""

    async def watch() -> None:
        from modelport.kube.client import Unreachable
        from modelport.kube.errors import ApiError

        patience = Patience()
        while True:
            try:
                return await follow(patience)
            except (Unreachable, ApiError) as error:
                if not (isinstance(error, ApiError) and error.code == GONE):
                    await patience.bear(error)

    async def follow(patience: Patience) -> None:
        listing = await client.list(resource, namespace, fields=f"metadata.name={name}")
        patience.answered()
        since = listing.resource_version
        item = listing.items[0] if listing.items else None
        see(item)
        while not wanted(item):
            events = client.watch(resource, namespace, since=since, fields=f"metadata.name={name}")
            async for event in events:
                since = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                item = None if event.type == "DELETED" else event.object
                see(item)
                if wanted(item):
                    return

    try:
        await asyncio.wait_for(watch(), timeout_s)
    except TimeoutError:
        return False
    return True


def condition(item: Object | None, name: str) -> Object | None:
    """A condition of an object's status, by type, whatever its case."""
    for found in (item or {}).get("status", {}).get("conditions", []):
        if found["type"].lower() == name.lower():
            return found
    return None


def holds(item: Object | None, name: str, status: str = "True") -> bool:
    """Whether a condition has a status, and speaks of the object as it is."""
    found = condition(item, name)
    if item is None or found is None or found["status"].lower() != status.lower():
        return False
    observed = item.get("status", {}).get("observedGeneration")
    return observed is None or observed >= item["metadata"].get("generation", 0)
