"""Takes out what a schema does not know. What is unchanged is shared with the input, which is never changed."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.resource import Object
from modelport.kube.schema.view import Schema


def prune(schema: Schema, value: Any) -> tuple[Any, list[str]]:
    """The value without unknown fields, and their paths, as in `spec.containers[0].colour`.

    A null goes too where the schema does not allow one: to Kubernetes it means "not set". Values of the wrong type
    stay as they are, for `validate` to name.
    """
    unknown: list[str] = []
    return _prune(schema, value, "", unknown), unknown


def _prune(schema: Schema, value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, dict):
        return _prune_map(schema, cast("Object", value), path, unknown)
    if isinstance(value, list):
        found = cast("list[Any]", value)
        item_schema = schema.items
        if not found or (item_schema.open and not item_schema.properties):
            return found
        kept = [_prune(item_schema, item, f"{path}[{index}]", unknown) for index, item in enumerate(found)]
        return kept if any(new is not old for new, old in zip(kept, found, strict=True)) else found
    return value


def _prune_map(schema: Schema, value: Object, path: str, unknown: list[str]) -> Object:
    if schema.open and not schema.properties and not schema.embedded:
        return value
    kept: Object = {}
    same = True
    for name, child in value.items():
        field = schema.field(name)
        at = f"{path}.{name}" if path else name
        if field is None:
            # A misfit (a map where the schema says string) is for `validate`, not a map of unknown fields.
            if schema.type in ("object", ""):
                unknown.append(at)
                same = False
            else:
                kept[name] = child
        elif child is None:
            if field.nullable or field.open:
                kept[name] = None
            else:
                same = False
        else:
            new = kept[name] = _prune(field, child, at, unknown)
            same = same and new is child
    return value if same else kept
