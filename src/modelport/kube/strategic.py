"""Kubernetes' strategic merge patch: a merge patch that knows, from the schema, which lists merge by which key.

Directives, in the patch: `$patch: replace|delete|merge` in a map or an item, `$retainKeys: […]` in a map,
`$deleteFromPrimitiveList/F: […]` and `$setElementOrder/F: […]` beside the list `F`.
See "Update API Objects in Place Using kubectl patch" in Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object
from modelport.kube.schema.view import UNTYPED, Schema
from modelport.kube.value import same

PATCH, RETAIN = "$patch", "$retainKeys"
DELETE_FROM, ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def strategic_patch(document: Object, patch: Object, schema: Schema) -> Object:
    """The document after the patch. ApiError 400 names the place where the patch makes no sense."""
    return _merge_map(document, patch, schema, "")


def _merge_map(document: Object, patch: Object, schema: Schema, path: str) -> Object:
    if PATCH in patch:
        rest = {name: value for name, value in patch.items() if name != PATCH}
        match patch[PATCH]:
            case "replace":
                return _settle_map(rest)
            case "delete":
                return {}
            case "merge":
                patch = rest
            case other:
                raise bad_request(
                    f"{path or '.'}: unknown patch type found: {other!r}. Use replace, delete or merge."
                )
    merged = dict(document)
    if RETAIN in patch:
        _retain(merged, patch, path)
    for name, value in patch.items():
        if name == RETAIN or name.startswith((ORDER, DELETE_FROM)):
            continue
        _merge_field(merged, name, value, patch, schema, f"{path}.{name}")
    for directive, values in patch.items():
        if directive.startswith(DELETE_FROM):
            name = directive.removeprefix(DELETE_FROM)
            gone = _list(values, f"{path}.{directive}")
            if isinstance(merged.get(name), list):
                merged[name] = [item for item in merged[name] if not _contains(gone, item)]
    for directive, order in patch.items():
        if directive.startswith(ORDER):
            name = directive.removeprefix(ORDER)
            _reorder(merged, document, patch, name, _list(order, f"{path}.{directive}"), schema, path)
    return merged


def _retain(merged: Object, patch: Object, path: str) -> None:
    """Drops the fields that `$retainKeys` does not list: they exclude each other, as volume sources do."""
    keep = _list(patch[RETAIN], f"{path}.{RETAIN}")
    for name, value in patch.items():
        if not name.startswith("$") and value is not None and name not in keep:
            raise bad_request(
                f"{path}.{RETAIN}: must list every field that the patch sets, {name!r} is missing"
            )
    for name in [name for name in merged if name not in keep]:
        del merged[name]


def _merge_field(merged: Object, name: str, value: Any, patch: Object, schema: Schema, path: str) -> None:
    if value is None:
        merged.pop(name, None)
        return
    old: Any = merged.get(name)
    field = schema.field(name) or UNTYPED
    if isinstance(value, dict):
        change = cast("Object", value)
        if isinstance(old, dict) and "replace" not in field.patch_strategy:
            merged[name] = _merge_map(cast("Object", old), change, field, path)
        elif change.get(PATCH) == "delete":
            merged[name] = {}
        else:
            merged[name] = _settle_map(change)
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        if "merge" in field.patch_strategy.split(","):
            before = cast("list[Any]", old) if isinstance(old, list) else []
            merged[name] = _merge_list(before, items, field, path)
        else:
            merged[name] = _settle(items)
    else:
        merged[name] = value


def _merge_list(document: list[Any], patch: list[Any], field: Schema, path: str) -> list[Any]:
    key = field.merge_key
    if not key and not any(isinstance(item, dict) for item in (*document, *patch)):
        merged = list(document)
        for item in patch:
            if not _contains(merged, item):
                merged.append(item)
        return _arrange(merged, patch, document, "")
    if not key:
        raise bad_request(f"{path}: cannot merge lists without merge key")
    items = [_map(item, f"{path}[{index}]") for index, item in enumerate(document)]
    changes = [_map(item, f"{path}[{index}]") for index, item in enumerate(patch)]
    if any(change.get(PATCH) == "replace" for change in changes):
        return [_settle_map(change) for change in changes if PATCH not in change]
    before = [item.get(key) for item in items]
    places: dict[bytes, int] = {}
    for index, item in enumerate(items):
        places.setdefault(_identity(item.get(key)), index)
    gone: list[Any] = []
    item_schema = field.items
    for index, change in enumerate(changes):
        if key not in change:
            raise bad_request(f"{path}[{index}]: map: {change!r} does not contain declared merge key: {key}")
        word, identity = change.get(PATCH), _identity(change[key])
        if word == "delete":
            gone.append(change[key])
        elif word not in (None, "merge"):
            raise bad_request(
                f"{path}[{index}]: unknown patch type found: {word!r}. Use replace, delete or merge."
            )
        elif identity in places:
            place = places[identity]
            items[place] = _merge_map(items[place], change, item_schema, f"{path}[{index}]")
        else:
            places[identity] = len(items)
            items.append(_settle_map(change))
    kept = [item for item in items if not _contains(gone, item.get(key))]
    order = [change[key] for change in changes if change.get(PATCH) != "delete"]
    return _arrange(kept, order, before, key)


def _reorder(
    merged: Object, document: Object, patch: Object, name: str, order: list[Any], schema: Schema, path: str
) -> None:
    """Carries out `$setElementOrder/name`: what it lists comes in that order, other items stay about where they were."""
    if not isinstance(merged.get(name), list):
        return
    field = schema.field(name) or UNTYPED
    key = field.merge_key
    at = f"{path}.{ORDER}{name}"
    listed = [_map(item, at).get(key) for item in order] if key else order
    changes = _list(patch.get(name) or [], f"{path}.{name}")
    named = [item.get(key) for item in changes if item.get(PATCH) is None] if key else changes
    places = [_place(listed, item) for item in named]
    if -1 in places or places != sorted(places):
        raise bad_request(f"{at}: the order in patch list {named!r} doesn't match the order {listed!r}")
    old: Any = document.get(name)
    before = cast("list[Any]", old) if isinstance(old, list) else []
    merged[name] = _arrange(
        merged[name], listed, [_map(item, at).get(key) for item in before] if key else before, key
    )


def _arrange(items: list[Any], order: Sequence[Any], before: Sequence[Any], key: str) -> list[Any]:
    """Items named in `order` in that order; the others among them, before the first that they preceded."""

    def name(item: Any) -> Any:
        return item.get(key) if key else item

    named = sorted(
        (item for item in items if _contains(order, name(item))), key=lambda i: _place(order, name(i))
    )
    others = [item for item in items if not _contains(order, name(item))]
    others.sort(key=lambda item: _place(before, name(item)))
    arranged: list[Any] = []
    for item in named:
        at = _place(before, name(item))
        while others and -1 < _place(before, name(others[0])) < at:
            arranged.append(others.pop(0))
        arranged.append(item)
    return arranged + others


def _settle(value: Any) -> Any:
    """A value that the document lacks: without directives, nulls and what they remove."""
    if isinstance(value, dict):
        return _settle_map(cast("Object", value))
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_settle(item) for item in items if not (isinstance(item, dict) and PATCH in item)]
    return value


def _settle_map(patch: Object) -> Object:
    return {
        name: _settle(value)
        for name, value in patch.items()
        if value is not None and name not in (PATCH, RETAIN) and not name.startswith((ORDER, DELETE_FROM))
    }


def _contains(values: Sequence[Any], value: Any) -> bool:
    return _place(values, value) >= 0


def _place(values: Sequence[Any], value: Any) -> int:
    return next((index for index, other in enumerate(values) if same(other, value)), -1)


def _identity(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{path}: must be a list, got {value!r}")
    return cast("list[Any]", value)


def _map(value: Any, path: str) -> Object:
    if not isinstance(value, dict):
        raise bad_request(f"{path}: must be an object, got {value!r}")
    return cast("Object", value)
