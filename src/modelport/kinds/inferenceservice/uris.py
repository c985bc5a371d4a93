"""Rules about where models come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from posixpath import commonpath

from modelport.kinds.inferenceservice.spec import Component, InferenceService, Predictor
from modelport.kinds.problem import Problem

SCHEMES = (
    "gs://",
    "s3://",
    "pvc://",
    "file://",
    "https://",
    "http://",
    "hdfs://",
    "webhdfs://",
    "oci://",
    "oci+native://",
    "oci+fetch://",
    "hf://",
    "git+https://",
    "models:/",
    "abfs://",
    "modelscope://",
)
AZURE = re.compile(r"https://.+?\.blob\.core\.windows\.net/.+")
STORES = ("s3", "hdfs", "webhdfs")
MOUNT = "/mnt/models"


def check(service: InferenceService, known: Callable[[str], bool]) -> list[Problem]:
    """What is wrong with the URIs of all components; `known` tells schemes of ClusterStorageContainers."""
    problems: list[Problem] = []
    spec = service.spec
    predictor = spec.predictor
    if predictor.model is not None:
        where = "spec.predictor.model"
        if predictor.model.storage_uri:
            problems += _uri(predictor.model.storage_uri, f"{where}.storageUri", known)
            if predictor.storage_uris:
                problems.append(
                    Problem(
                        "spec.predictor.storageUris",
                        "storageUri and storageUris cannot be given together",
                        "Keep one.",
                        "FieldValueForbidden",
                    )
                )
        storage = predictor.model.storage
        kind = (storage.parameters or {}).get("type") if storage else None
        if kind and kind not in STORES:
            problems.append(
                Problem(
                    f"{where}.storage.parameters.type",
                    f"storage type must be one of: {', '.join(STORES)}. storage type {kind!r} is not supported",
                    reason="FieldValueNotSupported",
                )
            )
        problems += _confidential(predictor)
    for where, component in (
        ("spec.predictor", predictor),
        ("spec.transformer", spec.transformer),
        ("spec.explainer", spec.explainer),
    ):
        if component is not None and component.storage_uris:
            problems += _several(component, f"{where}.storageUris", known)
    return problems


def is_local(uri: str) -> bool:
    """Whether a URI is a path of this machine, or of the container."""
    return "://" not in uri and (uri.startswith("/"))


def _uri(uri: str, where: str, known: Callable[[str], bool]) -> list[Problem]:
    if uri.startswith(SCHEMES) or AZURE.match(uri) or is_local(uri) or known(uri):
        return []
    return [
        Problem(
            where,
            f"storageUri, must be one of: [{', '.join(SCHEMES)}] or match https://*.blob.core.windows.net/... or be"
            f" an absolute or relative local path. StorageUri [{uri}] is not supported.",
            "A ClusterStorageContainer adds schemes of your own.",
            "FieldValueNotSupported",
        )
    ]


def _several(component: Component, where: str, known: Callable[[str], bool]) -> list[Problem]:
    problems: list[Problem] = []
    mounts: list[str] = []
    claims: list[str] = []
    for position, one in enumerate(component.storage_uris or []):
        here = f"{where}[{position}]"
        if not one.uri:
            problems.append(Problem(f"{here}.uri", "is required", reason="FieldValueRequired"))
            continue
        problems += _uri(one.uri, f"{here}.uri", known)
        mount = one.mount_path or MOUNT
        if not mount.startswith("/"):
            problems.append(Problem(f"{here}.mountPath", f"must be absolute, got {mount!r}"))
        elif mount == "/":
            problems.append(Problem(f"{here}.mountPath", "must not be the root of the file system"))
        elif ".." in mount.split("/"):
            problems.append(Problem(f"{here}.mountPath", f"must not contain '..', got {mount!r}"))
        else:
            (claims if one.uri.startswith("pvc://") else mounts).append(mount)
    if len(mounts) > 1 and commonpath(mounts) == "/":
        problems.append(
            Problem(where, f"the mount paths {', '.join(mounts)} need a common parent other than /")
        )
    twice = sorted({mount for mount in claims if claims.count(mount) > 1})
    if twice:
        problems.append(Problem(where, f"two claims are mounted at {', '.join(twice)}"))
    return problems


def _confidential(predictor: Predictor) -> list[Problem]:
    model = predictor.model
    confidential = model.confidential if model else None
    if model is None or confidential is None or not confidential.enabled:
        return []
    problems: list[Problem] = []
    where = "spec.predictor.model.confidential"
    if not model.storage_uri:
        problems.append(Problem(where, "needs storageUri", reason="FieldValueRequired"))
    if confidential.resource_id and not re.fullmatch(r"kbs:///[^/]+/[^/]+/[^/]+", confidential.resource_id):
        problems.append(
            Problem(f"{where}.resourceId", f"must look like kbs:///a/b/c, got {confidential.resource_id!r}")
        )
    return problems
