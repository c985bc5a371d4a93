"""Patches: three ways to say what changes in an object.

    json_patch(item, [{"op": "replace", "path": "/spec/replicas", "value": 3}])     # RFC 6902
    merge_patch(item, {"spec": {"replicas": 3}})                                    # RFC 7386
    strategic_patch(item, patch, schema_of(DEPLOYMENT))                             # Kubernetes' own

Results share with the document and the patch what is unchanged; neither is ever changed.
Errors are ApiError: 400 where the patch makes no sense, 422 where it does not fit the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import Object
from modelport.kube.strategic import strategic_patch as strategic_patch
from modelport.kube.value import same

MOST_OPERATIONS = 10_000
MOST_COPIED_BYTES = 3 * 1024 * 1024
"""Of all `copy` operations of a patch: each can double the document."""

_INDEX = re.compile(r"0|[1-9][0-9]*", re.ASCII)


def merge_patch(document: Any, patch: Any) -> Any:
    """The document with the patch's fields: maps merge, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("Object", document)) if isinstance(document, dict) else {}
    same_as_before = isinstance(document, dict)
    for name, value in cast("Object", patch).items():
        if value is None:
            same_as_before = same_as_before and name not in merged
            merged.pop(name, None)
        else:
            old = merged.get(name)
            new = merged[name] = merge_patch(old, value)
            unchanged = new is old if isinstance(new, dict) else same(new, old)
            same_as_before = same_as_before and unchanged
    return cast("Object", document) if same_as_before else merged


def json_patch(document: Any, operations: Any) -> Any:
    """The document after all operations, in order. A failed `test`, or a path that is not there, is ApiError 422."""
    if not isinstance(operations, list):
        raise bad_request(
            "a JSON patch is a list of operations, as in [{'op': 'add', 'path': '/a', 'value': 1}]"
        )
    listed = cast("list[Any]", operations)
    if len(listed) > MOST_OPERATIONS:
        raise ApiError(
            413,
            "RequestEntityTooLarge",
            f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(listed)}",
        )
    copied_bytes = 0
    for number, operation in enumerate(listed):
        at = f"operation {number}"
        if not isinstance(operation, dict):
            raise bad_request(f"{at}: must be an object with op and path, got {operation!r}")
        step = cast("Object", operation)
        word = step.get("op")
        path = _pointer(step, "path", at)
        at = f"{at} ({word} {step['path']})"
        try:
            match word:
                case "add":
                    document = _change(document, path, _add, _value(step, at))
                case "replace":
                    document = _change(document, path, _replace, _value(step, at))
                case "remove":
                    document = _change(document, path, _remove, None)
                case "test":
                    if not same(_find(document, path), _value(step, at)):
                        raise _Misfit("test failed: the value there is another one")
                case "copy":
                    found = _find(document, _pointer(step, "from", at))
                    copied_bytes += len(msgspec.json.encode(found))
                    if copied_bytes > MOST_COPIED_BYTES:
                        raise _Misfit(f"copies more than {MOST_COPIED_BYTES} bytes")
                    document = _change(document, path, _add, found)
                case "move":
                    source = _pointer(step, "from", at)
                    if path[: len(source)] == source and len(path) > len(source):
                        raise _Misfit("cannot move a value into itself")
                    found = _find(document, source)
                    if path != source:
                        document = _change(_change(document, source, _remove, None), path, _add, found)
                case _:
                    raise bad_request(
                        f"operation {number}: op must be add, remove, replace, move, copy or test, got {word!r}"
                    )
        except _Misfit as error:
            raise ApiError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: {at}: {error}",
            ) from None
    return document


class _Misfit(Exception):
    """The operation does not fit the document."""


def _pointer(step: Object, field: str, at: str) -> tuple[str, ...]:
    text: Any = step.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise bad_request(f"{at}: {field} must be a JSON pointer as in /spec/replicas, got {text!r}")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def _value(step: Object, at: str) -> Any:
    if "value" not in step:
        raise bad_request(f"{at}: value is missing")
    return step["value"]


def _index(items: list[Any], name: str, *, end: bool) -> int:
    """A place in a list; with `end` also the one after the last."""
    if name == "-" and end:
        return len(items)
    if not _INDEX.fullmatch(name):
        raise _Misfit(f"{name!r} is not an index of a list")
    place = int(name)
    if place > len(items) - (not end):
        raise _Misfit(f"index {place} is out of bounds, the list has {len(items)} items")
    return place


def _find(document: Any, path: Sequence[str]) -> Any:
    for depth, name in enumerate(path):
        document = _child(document, path, depth, name)
    return document


def _child(parent: Any, path: Sequence[str], depth: int, name: str) -> Any:
    if isinstance(parent, dict):
        fields = cast("Object", parent)
        if name not in fields:
            raise _Misfit(f"there is no /{'/'.join(path[: depth + 1])}")
        return fields[name]
    if isinstance(parent, list):
        items = cast("list[Any]", parent)
        return items[_index(items, name, end=False)]
    raise _Misfit(f"/{'/'.join(path[:depth])} is neither an object nor a list")


_Edit = Callable[[Any, str, Any], Any]


def _change(document: Any, path: Sequence[str], edit: _Edit, value: Any, depth: int = 0) -> Any:
    """A copy with `edit` done at the path; only what is on the path is copied."""
    if not path:
        if edit is _remove:
            raise _Misfit("the whole document cannot be removed")
        return value
    name = path[depth]
    if depth == len(path) - 1:
        if not isinstance(document, (dict, list)):
            raise _Misfit(f"/{'/'.join(path[:depth])} is neither an object nor a list")
        return edit(cast("Any", document), name, value)
    new = _change(_child(document, path, depth, name), path, edit, value, depth + 1)
    if isinstance(document, list):
        items = list(cast("list[Any]", document))
        items[_index(items, name, end=False)] = new
        return items
    return {**cast("Object", document), name: new}


def _add(parent: Any, name: str, value: Any) -> Any:
    if isinstance(parent, list):
        items = list(cast("list[Any]", parent))
        items.insert(_index(items, name, end=True), value)
        return items
    return {**parent, name: value}


def _replace(parent: Any, name: str, value: Any) -> Any:
    if isinstance(parent, list):
        items = list(cast("list[Any]", parent))
        items[_index(items, name, end=False)] = value
        return items
    if name not in parent:
        raise _Misfit(f"there is no {name!r} to replace")
    return {**parent, name: value}


def _remove(parent: Any, name: str, value: Any) -> Any:
    if isinstance(parent, list):
        items = list(cast("list[Any]", parent))
        del items[_index(items, name, end=False)]
        return items
    if name not in parent:
        raise _Misfit(f"there is no {name!r} to remove")
    return {key: child for key, child in parent.items() if key != name}
