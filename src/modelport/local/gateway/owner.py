"""Which InferenceService an object belongs to: what API keys and tokens must be good for. Pure."""

from __future__ import annotations

from modelport.kube.meta import controller_of
from modelport.kube.resource import Object

LABEL = "serving.kserve.io/inferenceservice"


def service_of(item: Object) -> str:
    """`namespace/name` of the InferenceService by owner or label; of the object itself where there is none.

    Always of the object's own namespace: a route cannot lend itself another namespace's keys.
    """
    meta = item["metadata"]
    labels: Object = meta.get("labels") or {}
    owner = controller_of(item)
    if owner is not None and owner["kind"] == "InferenceService":
        name = owner["name"]
    else:
        name = labels.get(LABEL) or meta["name"]
    return f"{meta['namespace']}/{name}"
