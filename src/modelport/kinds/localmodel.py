"""LocalModelCache and its relatives, v1alpha1: models that are kept on nodes before anybody asks for them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from modelport.kinds.kind import AGE, Kind, Related, mismatch, whole
from modelport.kinds.problem import Problem
from modelport.kinds.structural import Json, Quantity, structural
from modelport.kube.quantity import Quantity as Amount
from modelport.kube.resource import Object, Resource

OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _resource(kind: str, *, namespaced: bool = False, status: bool = True) -> Resource:
    return Resource(
        group="serving.kserve.io",
        version="v1alpha1",
        kind=kind,
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        namespaced=namespaced,
        subresources=("status",) if status else (),
    )


LOCAL_MODEL_CACHE = _resource("LocalModelCache")
LOCAL_MODEL_NAMESPACE_CACHE = _resource("LocalModelNamespaceCache", namespaced=True)
LOCAL_MODEL_NODE = _resource("LocalModelNode")
LOCAL_MODEL_NODE_GROUP = _resource("LocalModelNodeGroup", status=False)


class CacheStorage(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Credentials by the Secret `storage-config`."""

    key: Annotated[str | None, Meta(description="Key in the Secret.")] = None
    parameters: Annotated[dict[str, str] | None, Meta(description="Overrides of the store's settings.")] = (
        None
    )


class CacheSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model to keep."""

    source_model_uri: Annotated[
        str, Meta(description="Where it is, as in s3://bucket/path. Not to be changed.")
    ]
    model_size: Annotated[Quantity, Meta(description="Its size, as in 4Gi.")]
    node_groups: Annotated[list[str], Meta(description="LocalModelNodeGroups that keep it; at least one.")]
    service_account_name: Annotated[str | None, Meta(description="Whose credentials fetch it.")] = None
    storage: Annotated[CacheStorage | None, Meta(description="Credentials by `storage-config`.")] = None


class CachedModel(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model that a node keeps."""

    source_model_uri: Annotated[str, Meta(description="Where it is.")]
    model_name: Annotated[str, Meta(description="Name of its cache.")]
    namespace: Annotated[str | None, Meta(description="Of a LocalModelNamespaceCache.")] = None
    node_group: Annotated[str | None, Meta(description="For which group.")] = None
    service_account_name: Annotated[str | None, Meta(description="Whose credentials fetch it.")] = None
    storage: Annotated[CacheStorage | None, Meta(description="Credentials by `storage-config`.")] = None


class NodeSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What a node keeps."""

    local_models: Annotated[list[CachedModel], Meta(description="Models.")]


class NodeGroupSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Nodes that keep models, and how much of them."""

    storage_limit: Annotated[Quantity, Meta(description="Most that a node keeps, as in 1Ti.")]
    persistent_volume_spec: Annotated[Json, Meta(description="Volumes to keep them in.")]
    persistent_volume_claim_spec: Annotated[Json, Meta(description="Claims of those volumes.")]


def _cache(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    try:
        spec = msgspec.convert(obj.get("spec", {}), CacheSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, str(obj.get("kind", "")).lower())]
    problems = _quantity(spec.model_size, "spec.modelSize")
    if not spec.node_groups:
        problems.append(
            Problem("spec.nodeGroups", "must name at least one group", reason="FieldValueRequired")
        )
    was = (old or {}).get("spec", {}).get("sourceModelUri")
    if was is not None and was != spec.source_model_uri:
        problems.append(
            Problem(
                "spec.sourceModelUri",
                f"StorageUri is immutable, it was {was!r}",
                "Delete it and apply it anew.",
                "FieldValueForbidden",
            )
        )
    if obj.get("kind") == LOCAL_MODEL_CACHE.kind:
        for other in related.list(LOCAL_MODEL_CACHE):
            name = other["metadata"]["name"]
            if name != obj["metadata"].get("name") and other.get("spec", {}).get("sourceModelUri") == (
                spec.source_model_uri
            ):
                words = f"LocalModelCache {name} has the same sourceModelUri {spec.source_model_uri!r}"
                problems.append(Problem("spec.sourceModelUri", words, "Use that one.", "FieldValueDuplicate"))
    return problems


def _node(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    del old, related
    try:
        msgspec.convert(obj.get("spec", {}), NodeSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, "localmodelnode")]
    return []


def _group(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    del old, related
    try:
        spec = msgspec.convert(obj.get("spec", {}), NodeGroupSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, "localmodelnodegroup")]
    return _quantity(spec.storage_limit, "spec.storageLimit")


def _quantity(value: str | int, where: str) -> list[Problem]:
    try:
        Amount.parse(str(value))
    except ValueError as error:
        return [Problem(where, str(error), "As in 4Gi.")]
    return []


KINDS = (
    *(
        Kind(
            resource=resource,
            schema=whole(
                "A model that is kept on nodes, fetched before it is served.", structural(CacheSpec), OPEN
            ),
            columns=(AGE,),
            default=lambda obj, related: obj,
            validate=_cache,
        )
        for resource in (LOCAL_MODEL_CACHE, LOCAL_MODEL_NAMESPACE_CACHE)
    ),
    Kind(
        resource=LOCAL_MODEL_NODE,
        schema=whole("The models that one node keeps.", structural(NodeSpec), OPEN),
        columns=(AGE,),
        default=lambda obj, related: obj,
        validate=_node,
    ),
    Kind(
        resource=LOCAL_MODEL_NODE_GROUP,
        schema=whole("Nodes that keep models, and on which volume.", structural(NodeGroupSpec), OPEN),
        columns=(AGE,),
        default=lambda obj, related: obj,
        validate=_group,
        kubernetes=(("spec.persistentVolumeClaimSpec", "PersistentVolumeClaimSpec"),),
    ),
)
