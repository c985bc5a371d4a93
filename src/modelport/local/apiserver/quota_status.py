"""`status` of ResourceQuotas: what they limit, and how much of it is in use, kept true as objects come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from modelport.kube.errors import ApiError
from modelport.kube.quantity import Quantity
from modelport.kube.quota import NONE, is_counted, parsed
from modelport.kube.resource import RESOURCE_QUOTA, Object
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.fanout import Event
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.part import part
from modelport.local.apiserver.state_file import StoreError
from modelport.local.apiserver.update import update

log = logging.getLogger(__name__)
GATHER_S = 0.1
"""How long changes are gathered before usage is counted again."""
CHECK_S = 60.0
"""How soon all are counted, whatever changes tell: a pod's grace ends without a word."""


async def keep_used(api: Api) -> None:
    """Works until cancelled."""
    changed: set[str] = set()
    bell = asyncio.Event()
    limited = {row.namespace for row in api.store.rows(RESOURCE_QUOTA.qualified)}
    changed |= limited

    def heard(events: Sequence[Event]) -> None:
        for event in events:
            if event.row.resource == RESOURCE_QUOTA.qualified and not event.row.deleted:
                limited.add(event.row.namespace)
            if event.row.namespace in limited:
                changed.add(event.row.namespace)
        if changed:
            bell.set()

    api.store.listen(heard)
    while True:
        if not changed:
            try:
                async with asyncio.timeout(CHECK_S if limited else None):
                    await bell.wait()
            except TimeoutError:
                changed |= limited
        await asyncio.sleep(GATHER_S)
        bell.clear()
        found = sorted(changed)
        changed.clear()
        for namespace in found:
            if not api.store.rows(RESOURCE_QUOTA.qualified, namespace):
                limited.discard(namespace)
            try:
                await _count(api, namespace)
            except (ApiError, StoreError) as error:
                log.warning("resource quotas of namespace %s: %s", namespace, error)


async def _count(api: Api, namespace: str) -> None:
    served = api.registry.of(RESOURCE_QUOTA)
    kinds = {one.resource.qualified for one in api.registry.kinds() if one.resource.namespaced}
    for row in api.store.rows(RESOURCE_QUOTA.qualified, namespace):
        quota = decode(row)
        hard = part(quota, "spec", "hard")
        names = [name for name in hard if is_counted(name, kinds)]
        used = api.quotas.used(namespace, part(quota, "spec"), names)
        status: Object = {
            "hard": {name: str(Quantity.parse(amount)) for name, amount in hard.items()},
            "used": {name: str(used.get(name, NONE)) for name in names},
        }
        if _same(status, part(quota, "status")):
            continue

        def next_state(live: Object, old: Object, status: Object = status) -> Object:
            del old
            return live | {"status": status}

        try:
            options = WriteOptions(field_manager="modelport")
            await update(api, served, namespace, row.name, next_state, options, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _same(new: Object, old: Object) -> bool:
    return all(parsed(part(new, side)) == parsed(part(old, side)) for side in ("hard", "used"))
