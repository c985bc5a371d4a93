"""Tells the API server what became of a pod, whenever that has changed."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.resource import POD, Object
from modelport.local.node.container import pod_status
from modelport.local.node.record import Record

log = logging.getLogger(__name__)


async def run(client: Client, record: Record) -> None:
    """Writes the status whenever it is dirty, until cancelled or the pod's object is gone."""
    told: Object = {}
    while True:
        await record.dirty.wait()
        record.dirty.clear()
        try:
            told = await _tell(client, record, told)
        except ApiError as error:
            if error.code == 404:
                return
            await asyncio.sleep(0.05)
            record.dirty.set()
        except Exception as error:  # noqa: BLE001 - the API server may be away: the pod goes on
            log.debug("pod %s: %s", record.name, error)
            await asyncio.sleep(0.5)
            record.dirty.set()


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
