"""Fills in the defaults that a schema names. What is unchanged is shared with the input, which is never changed."""

from __future__ import annotations

import copy
from typing import Any, cast

import msgspec

from modelport.kube.resource import Object
from modelport.kube.schema.view import Schema


def fill_defaults(schema: Schema, value: Any) -> Any:
    """The value with absent fields set to their `default`, inside defaults too.

    A default acts where its parent is there: that of `spec.a.b` needs `spec.a`, or a default of `spec.a`.
    """
    if isinstance(value, dict):
        return _fill_map(schema, cast("Object", value))
    if isinstance(value, list) and value:
        found = cast("list[Any]", value)
        item_schema = schema.items
        filled = [fill_defaults(item_schema, item) for item in found]
        same = all(new is old for new, old in zip(filled, found, strict=True))
        return found if same else filled
    return cast("object", value)


def _fill_map(schema: Schema, value: Object) -> Object:
    filled: Object | None = None
    for name, field in schema.properties.items():
        if field.default is not msgspec.UNSET and name not in value:
            filled = filled if filled is not None else dict(value)
            filled[name] = copy.deepcopy(field.default)
    current = filled if filled is not None else value
    for name, child in current.items():
        if isinstance(child, (dict, list)):
            field = schema.field(name)
            new: Any = cast("object", child) if field is None else fill_defaults(field, child)
            if new is not child:
                filled = filled if filled is not None else dict(value)
                filled[name] = new
    return filled if filled is not None else value
