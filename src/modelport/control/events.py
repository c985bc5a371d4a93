"""Events: what happened to an object, once with a count rather than many times."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime

from modelport.kube.client import Client, Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.meta import timestamp
from modelport.kube.resource import EVENT, Object

log = logging.getLogger(__name__)
COMPONENT = "modelport"


def event(
    about: Object, kind: str, reason: str, message: str, now: datetime, component: str = COMPONENT
) -> Object:
    """A new event. Its name follows from what it says, so that the same event is found again."""
    meta = about["metadata"]
    digest = hashlib.sha256(f"{meta.get('uid')}\0{kind}\0{reason}\0{message}".encode()).hexdigest()[:16]
    moment = timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta['name'][:200]}.{digest}",
            "namespace": meta.get("namespace") or "default",
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        },
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


async def record(
    client: Client,
    about: Object,
    kind: str,
    reason: str,
    message: str,
    now: datetime,
    component: str = COMPONENT,
) -> None:
    """Writes an event, or counts it again. An event that cannot be written is logged, and no reason to fail."""
    new = event(about, kind, reason, message, now, component)
    meta = new["metadata"]
    try:
        try:
            await client.create(EVENT, new)
        except ApiError as error:
            if error.code != 409:
                raise
            known = await client.get(EVENT, meta["namespace"], meta["name"])
            again = {"count": (known.get("count") or 1) + 1, "lastTimestamp": new["lastTimestamp"]}
            await client.patch(EVENT, meta["namespace"], meta["name"], again)
    except (ApiError, Unreachable) as error:
        log.warning("event %s of %s: %s", reason, meta["name"], error)
