"""ClusterStorageContainer v1alpha1: which container fetches models of which URIs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from modelport.kinds.kind import AGE, Kind, PrinterColumn, Related, mismatch, whole
from modelport.kinds.problem import Problem
from modelport.kinds.structural import Json, structural
from modelport.kube.resource import Object, Resource

CLUSTER_STORAGE_CONTAINER = Resource(
    group="serving.kserve.io",
    version="v1alpha1",
    kind="ClusterStorageContainer",
    plural="clusterstoragecontainers",
    singular="clusterstoragecontainer",
    namespaced=False,
)
INIT_CONTAINER, DOWNLOAD_JOB = "initContainer", "localModelDownloadJob"


class UriFormat(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """URIs by their beginning, or by a pattern; the prefix counts where both are given."""

    prefix: Annotated[str | None, Meta(description="Beginning of the URI, as in s3://.")] = None
    regex: Annotated[str | None, Meta(description="Pattern that is found in the URI.")] = None


class StorageContainerSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How models are fetched."""

    container: Annotated[
        Json, Meta(description="The container; it is given pairs of URI and folder as arguments.")
    ]
    supported_uri_formats: Annotated[list[UriFormat], Meta(description="URIs that it fetches.")]
    workload_type: Annotated[
        Literal["initContainer", "localModelDownloadJob"] | None,
        Meta(description="Where it runs: in a pod before its model, or in a job of a model cache."),
    ] = None
    supports_multi_model_download: Annotated[
        bool | None, Meta(description="Whether it takes several pairs of URI and folder. Default false.")
    ] = None


class StorageContainer(Struct, kw_only=True):
    """One of them, as it is used."""

    name: str
    disabled: bool
    spec: StorageContainerSpec


def decode(obj: Object) -> StorageContainer:
    """The typed view of a stored object. msgspec.ValidationError for one that does not fit the schema."""
    return StorageContainer(
        name=obj["metadata"]["name"],
        disabled=bool(obj.get("disabled")),
        spec=msgspec.convert(obj.get("spec", {}), StorageContainerSpec),
    )


def usable(items: Iterable[Object]) -> list[StorageContainer]:
    """The typed views of those that fit the schema; the others are refused where they are written."""
    found: list[StorageContainer] = []
    for item in items:
        with contextlib.suppress(msgspec.ValidationError):
            found.append(decode(item))
    return found


def supports(spec: StorageContainerSpec, uri: str) -> bool:
    """Whether it fetches a URI. A pattern that cannot be read supports nothing."""
    for one in spec.supported_uri_formats:
        if one.prefix:
            if uri.startswith(one.prefix):
                return True
        elif one.regex:
            try:
                if re.search(one.regex, uri):
                    return True
            except re.error:
                continue
    return False


def _default(obj: Object, related: Related) -> Object:
    del related
    spec = obj.get("spec")
    if isinstance(spec, dict):
        spec.setdefault("workloadType", INIT_CONTAINER)  # pyright: ignore[reportUnknownMemberType]
        spec.setdefault("supportsMultiModelDownload", False)  # pyright: ignore[reportUnknownMemberType]
    return obj


def _validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    del old, related
    try:
        new = decode(obj)
    except msgspec.ValidationError as error:
        return [mismatch(error, "clusterstoragecontainer")]
    problems: list[Problem] = []
    if not new.spec.supported_uri_formats:
        problems.append(
            Problem("spec.supportedUriFormats", "must name at least one format", reason="FieldValueRequired")
        )
    for position, one in enumerate(new.spec.supported_uri_formats):
        where = f"spec.supportedUriFormats[{position}]"
        if not one.prefix and not one.regex:
            problems.append(Problem(where, "needs prefix or regex", reason="FieldValueRequired"))
        try:
            re.compile(one.regex or "")
        except re.error as error:
            problems.append(
                Problem(f"{where}.regex", f"{one.regex!r} is no pattern: {error}", "Mend it, or use prefix.")
            )
    return problems


KIND = Kind(
    resource=CLUSTER_STORAGE_CONTAINER,
    schema=whole(
        "What fetches models whose URIs it knows.",
        structural(StorageContainerSpec),
        more={"disabled": {"type": "boolean", "description": "Never use it."}},
    ),
    columns=(
        PrinterColumn(name="Workload", path=".spec.workloadType"),
        PrinterColumn(name="Disabled", path=".disabled", type="boolean"),
        AGE,
    ),
    default=_default,
    kubernetes=(("spec.container", "Container"),),
    validate=_validate,
)
