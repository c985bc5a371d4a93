"""PATCH: JSON, merge and strategic merge patches, and server-side apply."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.apply import apply as apply_fields
from modelport.kube.errors import ApiError, bad_request, conflict
from modelport.kube.patch import json_patch, merge_patch
from modelport.kube.resource import Object
from modelport.kube.schema import UNTYPED, prune
from modelport.kube.strategic import strategic_patch
from modelport.kube.value import same
from modelport.local.apiserver.accept import parse_json, parse_yaml, unsupported
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.conform import conform, copied
from modelport.local.apiserver.create import admit_new
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.update import TRIES, update

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


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
        if not options.named_manager:
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        body = await parse_yaml(content)
        if options.written.twice and options.field_validation == "Strict":
            name_twice = options.written.twice[0].rpartition(".")[2]
            line = f"  line {options.written.line}: " if options.written.line else "  "
            raise bad_request(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
                f'{line}key "{name_twice}" already set in map'
            )
        return await _apply(api, served, namespace, name, body, options, subresource)
    if options.force:
        raise bad_request(
            "PatchOptions.meta.k8s.io is invalid: force: Forbidden: may not be specified for non-apply patch"
        )
    accepted = (JSON_PATCH, MERGE, *(() if served.custom else (STRATEGIC,)), APPLY)
    if media not in accepted:
        raise unsupported(media, *accepted)
    change = parse_json(content)
    if media != JSON_PATCH and not isinstance(change, dict):
        raise bad_request("the patch must be an object, as in {'spec': {'replicas': 2}}")

    def next_state(live: Object, old: Object) -> Object:
        del old
        live = served.given(live)
        patched: Any
        if media == JSON_PATCH:
            patched = json_patch(live, change)
        elif media == MERGE:
            patched = merge_patch(live, change)
        else:
            patched = strategic_patch(live, cast("Object", change), served.schema or UNTYPED)
        return served.taken(conform(served, patched, namespace, options))

    value = await update(api, served.kept, namespace, name, next_state, options, subresource=subresource)
    return value, False


async def _apply(
    api: Api,
    served: Served,
    namespace: str,
    name: str,
    body: Any,
    options: WriteOptions,
    subresource: str,
) -> tuple[bytes, bool]:
    if not isinstance(body, dict):
        raise bad_request("an applied configuration must be an object")
    if served.schema is not None:
        _check_declared(served, namespace, name, cast("Object", body))
    applied = conform(served, body, namespace, options)
    meta = applied["metadata"]
    if (meta.get("name") or name) != name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )
    meta["name"] = name
    applied, served = served.taken(applied), served.kept
    if not subresource and "status" in served.resource.subresources:
        applied.pop("status", None)
    if not subresource:
        applied = _rewritten(api, served, applied)
    schema, manager = served.schema or UNTYPED, options.field_manager

    def next_state(live: Object, old: Object) -> Object:
        del old
        return apply_fields(schema, live, applied, manager, options.force, api.clock(), subresource)

    for _ in range(TRIES):
        if api.find(served, namespace, name) is not None or subresource:
            value = await update(
                api, served, namespace, name, next_state, options, subresource=subresource, applied=True
            )
            return value, False
        if meta.get("resourceVersion") or meta.get("uid"):
            raise conflict(served.resource, name, "the object named by resourceVersion or uid is not there")
        new = apply_fields(schema, None, applied, manager, options.force, api.clock())
        try:
            return await admit_new(api, served, namespace, new, options, applied=True), True
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
    raise conflict(served.resource, name)


def _check_declared(served: Served, namespace: str, name: str, body: Object) -> None:
    """ApiError 400 for fields that the schema does not know: nobody could own them."""
    _, unknown = prune(served.schema or UNTYPED, body)
    if not unknown:
        return
    words = [f".{path}: field not declared in schema" for path in unknown]
    told = words[0] if len(words) == 1 else "errors:\n  " + "\n  ".join(words)
    resource = served.resource
    raise bad_request(
        f"failed to create typed patch object ({namespace}/{name}; {resource.api_version}, Kind={resource.kind}): "
        f"{told}"
    )


def _rewritten(api: Api, served: Served, applied: Object) -> Object:
    """What an applier owns where defaulting rewrites its words (a framework's shorthand): what they became.

    Where defaulting only adds, the applier owns no more than it said, so that others may set the rest.
    """
    if served.default is None:
        return applied
    defaulted = served.default(copied(applied), api.related)
    return applied if _holds(defaulted, applied) else defaulted


def _holds(whole: Any, part: Any) -> bool:
    """Whether all of `part` is in `whole`, unchanged."""
    if isinstance(part, dict) and isinstance(whole, dict):
        outer = cast("Object", whole)
        return all(
            name in outer and _holds(outer[name], value) for name, value in cast("Object", part).items()
        )
    if isinstance(part, list) and isinstance(whole, list):
        outer_items, items = cast("list[Any]", whole), cast("list[Any]", part)
        return len(outer_items) == len(items) and all(map(_holds, outer_items, items))
    return same(whole, part)
