"""The pod template's versions: which ReplicaSet has this one, and the ReplicaSet to create where none has. Pure."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable

import msgspec

from modelport.kube.meta import owner_reference
from modelport.kube.name import SUFFIX_ALPHABET
from modelport.kube.resource import Object
from modelport.local.workloads.deployment.sets import DESIRED, MAXIMUM, REVISION, REVISION_HISTORY
from modelport.local.workloads.part import annotations_of, labels_of, number, part

HASH_LABEL = "pod-template-hash"
HASH_LENGTH = 10
_NAME_LIMIT = 253
_NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM}
)


def template_hash(deployment: Object) -> str:
    """Ten characters that differ for different templates; `status.collisionCount` makes them differ once more."""
    count = number(part(deployment, "status").get("collisionCount"))
    text = msgspec.json.encode([deployment["spec"]["template"], count], order="deterministic")
    rest = int.from_bytes(hashlib.sha256(text).digest()[:8])
    characters: list[str] = []
    for _ in range(HASH_LENGTH):
        rest, digit = divmod(rest, len(SUFFIX_ALPHABET))
        characters.append(SUFFIX_ALPHABET[digit])
    return "".join(characters)


def find_new(deployment: Object, replica_sets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template. By the hash too, should defaults have been added since."""
    wanted, digest = _plain(deployment["spec"]["template"]), template_hash(deployment)
    found = [
        item
        for item in replica_sets
        if _plain(item["spec"]["template"]) == wanted or labels_of(item).get(HASH_LABEL) == digest
    ]
    return min(
        found,
        key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]),
        default=None,
    )


def new_replica_set(deployment: Object, replicas: int, revision: int, most: int) -> Object:
    """A ReplicaSet for the Deployment's template."""
    meta, spec = deployment["metadata"], deployment["spec"]
    digest = template_hash(deployment)
    template = copy.deepcopy(spec["template"])
    template_meta: Object = template.setdefault("metadata", {})
    template_meta["labels"] = labels_of(template) | {HASH_LABEL: digest}
    selector = copy.deepcopy(spec["selector"])
    selector["matchLabels"] = part(selector, "matchLabels") | {HASH_LABEL: digest}
    body: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name'][: _NAME_LIMIT - HASH_LENGTH - 1]}-{digest}",
            "namespace": meta.get("namespace"),
            "labels": dict(labels_of(template)),
            "annotations": copied_annotations(deployment)
            | {
                REVISION: str(revision),
                DESIRED: str(number(spec.get("replicas"), 1)),
                MAXIMUM: str(most),
            },
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        body["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return body


def copied_annotations(deployment: Object) -> dict[str, str]:
    """The Deployment's annotations that its ReplicaSets carry too."""
    return {key: text for key, text in annotations_of(deployment).items() if key not in _NOT_COPIED}


def _plain(template: Object) -> Object:
    """Without the label that differs between a Deployment's template and its ReplicaSet's."""
    meta = part(template, "metadata")
    kept = {key: item for key, item in meta.items() if key not in ("labels", "creationTimestamp")}
    own = {key: text for key, text in labels_of(template).items() if key != HASH_LABEL}
    return template | {"metadata": kept | {"labels": own}}
