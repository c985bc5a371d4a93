"""PATCH: JSON, merge and strategic merge patches, and server-side apply."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.apply import apply as apply_fields
from modelport.kube.errors import ApiError, bad_request
from modelport.kube.patch import json_patch, merge_patch
from modelport.kube.resource import Object
from modelport.kube.schema import UNTYPED
from modelport.kube.strategic import strategic_patch
from modelport.local.apiserver.accept import parse_json, parse_yaml, unsupported
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.conform import conform
from modelport.local.apiserver.create import admit_new
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.shape import shape
from modelport.local.apiserver.update import update

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
MEDIA = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


async def patch(
    api: Api,
    served: Served,
    namespace: str,
    name: str,
    content: bytes,
    media: str,
    options: WriteOptions,
    *,
    subresource: str = "",
) -> tuple[bytes, bool]:
    """The object as written, and whether it is new. ApiError 400, 404, 409, 415, 422."""
    media = media.partition(";")[0].strip().lower()
    if media == APPLY:
        body = await parse_yaml(content)
        return await _apply(api, served, namespace, name, body, options, subresource)
    if media not in MEDIA:
        raise unsupported(media, *MEDIA)
    change = parse_json(content)
    if media == STRATEGIC and served.custom:
        raise unsupported(media, JSON_PATCH, MERGE, APPLY)

    def next_state(live: Object, old: Object) -> Object:
        del old
        patched: Any
        if media == JSON_PATCH:
            patched = json_patch(live, change)
        elif media == MERGE:
            patched = merge_patch(live, change)
        else:
            if not isinstance(change, dict):
                raise bad_request("a strategic merge patch must be an object")
            patched = strategic_patch(live, cast("Object", change), served.schema or UNTYPED)
        if not isinstance(patched, dict):
            raise bad_request("the patch does not leave an object")
        return shape(served, conform(served, patched, namespace, _quiet(options)), options)

    value = await update(api, served, namespace, name, next_state, options, subresource=subresource)
    return value, False


def _quiet(options: WriteOptions) -> WriteOptions:
    """Unknown fields are told once."""
    return WriteOptions(dry_run=options.dry_run, field_validation="Ignore")


async def _apply(
    api: Api,
    served: Served,
    namespace: str,
    name: str,
    body: Any,
    options: WriteOptions,
    subresource: str,
) -> tuple[bytes, bool]:
    applied = conform(served, body, namespace, options)
    meta = applied["metadata"]
    if meta.setdefault("name", name) != name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )
    if not subresource and "status" in served.resource.subresources:
        applied.pop("status", None)
    schema, manager = served.schema or UNTYPED, options.field_manager
    # Defaulting may rewrite what was applied (a framework's shorthand): what is owned is what it became.
    if served.default is not None and not subresource:
        applied = served.default(applied, api.related)
    while True:
        if api.find(served, namespace, name) is None:
            if subresource:
                api.row(served, namespace, name)
            if meta.get("resourceVersion"):
                meta.pop("resourceVersion")
            new = apply_fields(schema, None, applied, manager, options.force, api.clock())
            try:
                return await admit_new(api, served, namespace, new, options, applied=True), True
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                continue

        def next_state(live: Object, old: Object) -> Object:
            del old
            return apply_fields(schema, live, applied, manager, options.force, api.clock(), subresource)

        value = await update(
            api, served, namespace, name, next_state, options, subresource=subresource, applied=True
        )
        return value, False
