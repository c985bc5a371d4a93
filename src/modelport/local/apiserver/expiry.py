"""Events go after a while, as on a cluster: nobody else deletes them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta

from modelport.kube.errors import ApiError
from modelport.kube.meta import parse_time
from modelport.kube.resource import EVENT, Object
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.delete import delete
from modelport.local.apiserver.ledger import Row
from modelport.local.apiserver.options import DeleteOptions
from modelport.local.apiserver.part import part
from modelport.local.apiserver.state_file import StoreError

log = logging.getLogger(__name__)

KEEP = timedelta(hours=24)
"""How long an event is kept after it was last seen: over night, so that the morning after still tells why."""
KEEP_EVENTS = 5000
"""How many are kept at most, the newest."""
LOOK_EVERY_S = 300.0


async def expire_events(api: Api) -> None:
    """Deletes old events, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await sweep(api)
        except (ApiError, StoreError) as error:
            log.warning("old events stay for now: %s", error)


async def sweep(api: Api) -> None:
    """Deletes the events that are too old or too many by now."""
    served = api.registry.of(EVENT)
    now = api.clock()
    async with api.store.snapshot() as snapshot:
        rows = snapshot.rows(EVENT.qualified)
        seen: list[tuple[datetime, Row]] = [(_last_seen(decode(row), now), row) async for row in rows]
    seen.sort(key=lambda one: one[0], reverse=True)
    for index, (last, row) in enumerate(seen):
        if index >= KEEP_EVENTS or now - last > KEEP:
            options = DeleteOptions(version=str(row.version))
            try:
                await delete(api, served, row.namespace, row.name, options)
            except ApiError as error:
                if error.code not in (404, 409):  # deleted, or seen again meanwhile
                    raise


def _last_seen(event: Object, now: datetime) -> datetime:
    times = (
        part(event, "series").get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    for text in times:
        with contextlib.suppress(ValueError):
            if isinstance(text, str):
                return parse_time(text)
    return now
