"""Which ClusterStorageContainer fetches a component's models, and what it makes of the init container."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from modelport.kinds.clusterstoragecontainer import INIT_CONTAINER, StorageContainer, supports
from modelport.kinds.problem import Problem
from modelport.kube.part import objects
from modelport.kube.resource import Object


def choose(
    uris: Sequence[str], name: str | None, known: Sequence[StorageContainer]
) -> StorageContainer | Problem | None:
    """The one that is named, else the first by name that fetches the first URI; None where the platform does it."""
    if name:
        found = next((one for one in known if one.name == name), None)
        if found is None:
            return _wrong(
                name, "does not exist", "kubectl get clusterstoragecontainers lists those there are."
            )
        if found.disabled:
            return _wrong(name, "is disabled", "Enable it, or name another one.")
        if found.spec.workload_type not in (None, INIT_CONTAINER):
            return _wrong(
                name, f"has workloadType {found.spec.workload_type}", f"It must be {INIT_CONTAINER}."
            )
    else:
        usable = (
            one for one in known if not one.disabled and one.spec.workload_type in (None, INIT_CONTAINER)
        )
        found = next(
            (one for one in sorted(usable, key=lambda one: one.name) if supports(one.spec, uris[0])), None
        )
    if found is None:
        return None
    for uri in uris:
        if not supports(found.spec, uri):
            return _wrong(found.name, f"does not fetch {uri!r}", "Add it to its supportedUriFormats.")
    if len(uris) > 1 and not found.spec.supports_multi_model_download:
        words = "fetches one model at a time, and there are several URIs"
        return _wrong(
            found.name, words, "Set its supportsMultiModelDownload, if it takes pairs of URI and folder."
        )
    return found


def merged(initializer: Object, chosen: StorageContainer) -> Object:
    """The init container with what the chosen one says; name and arguments stay, variables and mounts come together."""
    own = copy.deepcopy(chosen.spec.container)
    kept = {"name": initializer["name"], "args": initializer["args"]}
    found = initializer | {key: value for key, value in own.items() if value is not None} | kept
    for field, key in (("env", "name"), ("volumeMounts", "mountPath")):
        both = {one[key]: one for one in (*objects(initializer.get(field)), *objects(own.get(field)))}
        if both:
            found[field] = list(both.values())
    return found


def _wrong(name: str, what: str, hint: str) -> Problem:
    return Problem("storageContainerName", f"ClusterStorageContainer {name!r} {what}.", hint)
