"""The specs that a service had: a ControllerRevision for each, and the way back to one."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.client import Client
from modelport.kube.meta import owner_reference
from modelport.kube.part import mapping, objects
from modelport.kube.resource import CONTROLLER_REVISION, Object

READY_AT = "serving.modelport.io/ready-at"
LABEL = "serving.kserve.io/inferenceservice"
KEPT = 10


class NoRevision(Exception):
    """There is no revision to go back to. The message says why."""


class Revision(msgspec.Struct, kw_only=True):
    """One spec that a service had."""

    number: int
    created_at: str
    ready_at: str | None
    """When it served first; None where it never did."""
    summary: str
    """What it is about, in a few words."""
    current: bool


def name_of(service: Object) -> str:
    """The name of the revision of a service's present spec."""
    text = msgspec.json.encode(service.get("spec", {}), order="deterministic")
    return f"{service['metadata']['name']}-{hashlib.sha256(text).hexdigest()[:10]}"


def revision(service: Object, number: int, ready_at: str | None) -> Object:
    """The ControllerRevision of a service's present spec."""
    meta = service["metadata"]
    annotations = {READY_AT: ready_at} if ready_at else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name_of(service),
            "namespace": meta["namespace"],
            "labels": {LABEL: meta["name"]},
            "annotations": annotations,
            "ownerReferences": [owner_reference(service)],
        },
        "data": {"spec": service["spec"]},
        "revision": number,
    }


def ready_at(item: Object) -> str | None:
    """When a revision served first."""
    return mapping(item["metadata"].get("annotations")).get(READY_AT)


async def history(client: Client, namespace: str, name: str) -> list[Revision]:
    """All revisions that are kept, oldest first. ApiError 404 without the service."""
    service = await client.get(INFERENCE_SERVICE, namespace, name)
    return [_described(item, service) for item in await _revisions(client, namespace, name)]


async def undo(client: Client, namespace: str, name: str, to: int | None) -> Revision:
    """Puts the last spec that was Ready, other than the present one, in force again; or revision `to`."""
    service = await client.get(INFERENCE_SERVICE, namespace, name)
    kept = await _revisions(client, namespace, name)
    others = [item for item in kept if item["metadata"]["name"] != name_of(service)]
    if to is not None:
        chosen = next((item for item in kept if item["revision"] == to), None)
        if chosen is None:
            raise NoRevision(f"{name} has no revision {to}.")
    else:
        chosen = next((item for item in reversed(others) if ready_at(item)), None)
        if chosen is None:
            raise NoRevision(f"{name} has no previous revision that was ever Ready.")
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": service["metadata"]["uid"]},
        {"op": "replace", "path": "/spec", "value": chosen["data"]["spec"]},
    ]
    await client.patch(
        INFERENCE_SERVICE, namespace, name, patch, type="json", field_manager="modelport-rollout"
    )
    return _described(chosen, service)


async def _revisions(client: Client, namespace: str, name: str) -> list[Object]:
    listing = await client.list(CONTROLLER_REVISION, namespace, labels=f"{LABEL}={name}")
    return sorted(listing.items, key=lambda item: item["revision"])


def _described(item: Object, service: Object) -> Revision:
    return Revision(
        number=item["revision"],
        created_at=item["metadata"].get("creationTimestamp") or "",
        ready_at=ready_at(item),
        summary=_summary(item["data"].get("spec", {})),
        current=item["metadata"]["name"] == name_of(service),
    )


def _summary(spec: Object) -> str:
    predictor = spec.get("predictor", {})
    model = mapping(predictor.get("model"))
    if model.get("storageUri"):
        return str(model["storageUri"])
    if model:
        return str(model.get("modelFormat", {}).get("name", "model"))
    containers = objects(predictor.get("containers")) or [dict[str, Any]()]
    return str(containers[0].get("image", "custom container"))
