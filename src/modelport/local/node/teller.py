"""Tells the API server what became of a pod, whenever that has changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from modelport.kube.client import Client, Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.resource import POD, Object
from modelport.local.node.container import pod_status
from modelport.local.node.record import Record

log = logging.getLogger(__name__)
LAST_S = 2.0
"""So long the API server has to hear of a pod's end with the platform."""


async def run(client: Client, record: Record) -> None:
    """Writes the status whenever it is dirty, until cancelled or the pod's object is gone."""
    told: Object = record.pod.get("status", {})
    while True:
        await record.dirty.wait()
        record.dirty.clear()
        try:
            told = await _tell(client, record, told)
            if not record.dirty.is_set():
                record.told.set()
        except ApiError as error:
            if error.code == 404:
                record.told.set()
                return
            await asyncio.sleep(0.05)
            record.dirty.set()
        except Exception as error:  # noqa: BLE001 - the API server may be away: the pod goes on
            log.debug("pod %s: %s", record.name, error)
            await asyncio.sleep(0.5)
            record.dirty.set()


async def last(client: Client, record: Record) -> None:
    """One try, when the platform goes down: what is kept must not say that the pod serves."""
    with contextlib.suppress(ApiError, Unreachable, TimeoutError):
        await asyncio.wait_for(_tell(client, record, {}), LAST_S)


async def _tell(client: Client, record: Record, told: Object) -> Object:
    kept = record.kept
    found = pod_status(
        record.pod, kept.containers, kept.ip, kept.started_at, datetime.now(UTC), record.problem, kept.lacking
    )
    if found == told:
        return told
    meta = {k: v for k, v in record.pod["metadata"].items() if k != "resourceVersion"}
    await client.replace(POD, record.pod | {"metadata": meta, "status": found}, subresource="status")
    record.pod = record.pod | {"status": found}
    return found
