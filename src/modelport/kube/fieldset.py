"""Sets of fields, in the form in which `managedFields` stores them (FieldsV1): a tree of path elements.

    {"f:spec": {"f:replicas": {}, "f:ports": {'k:{"port":80}': {".": {}, "f:port": {}}}}}

Elements: `f:` a field or a map's key, `k:` an item by its keys, `v:` an item by its value, `i:` by its index.
A leaf is in the set; a node with children is in it only if it has `.`. Sets are shared and never changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from modelport.kube.resource import Object
from modelport.kube.schema.view import UNTYPED, Schema

FieldSet = dict[str, Any]
"""Nested: every value is a FieldSet."""
SELF = "."
LEAF: FieldSet = {}
"""A node that is in the set and has no children. At the root, the empty set."""


def is_member(node: FieldSet) -> bool:
    """Whether the node itself is in the set (not asked of a root)."""
    return not node or SELF in node


def node_of(member: bool, children: FieldSet) -> FieldSet | None:
    """A node, or None where nothing would be in it."""
    if not children:
        return LEAF if member else None
    return {SELF: LEAF, **children} if member else children


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in either set."""
    return _union(left, right) if left and right else left or right


def _union(left: FieldSet, right: FieldSet) -> FieldSet:
    if left is right:
        return left
    if not left or not right:
        node = left or right
        return node if not node or SELF in node else {SELF: LEAF, **node}
    both = dict(left)
    for name, child in right.items():
        known = both.get(name)
        both[name] = child if known is None else _union(known, child)
    return both


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in both sets."""
    return {
        name: common
        for name, child in left.items()
        if name in right and (common := _intersection(child, right[name])) is not None
    }


def _intersection(left: FieldSet, right: FieldSet) -> FieldSet | None:
    children = {
        name: common
        for name, child in left.items()
        if name != SELF and name in right and (common := _intersection(child, right[name])) is not None
    }
    return node_of(is_member(left) and is_member(right), children)


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in the left set and not in the right. A parent there does not take its children along."""
    if not left or not right:
        return left
    return _children_without(left, right)


def _children_without(left: FieldSet, right: FieldSet) -> FieldSet:
    kept: FieldSet = {}
    for name, child in left.items():
        if name == SELF:
            continue
        other = right.get(name)
        rest = child if other is None else _difference(child, other)
        if rest is not None:
            kept[name] = rest
    return kept


def _difference(left: FieldSet, right: FieldSet) -> FieldSet | None:
    return node_of(is_member(left) and not is_member(right), _children_without(left, right))


def with_named(fields: FieldSet, schema: Schema) -> FieldSet:
    """The set with the fields of fixed name on the way to its members: `spec` of `spec.replicas`, but no map's
    key and no list's item."""
    named: FieldSet = {}
    for name, child in fields.items():
        if name == SELF or not child:
            named[name] = child
            continue
        below = child_schema(schema, name)
        whole = with_named(child, below)
        if SELF not in whole and name.startswith("f:") and name[2:] in schema.properties:
            whole = {SELF: LEAF, **whole}
        named[name] = whole
    return named


def fitted(fields: FieldSet, schema: Schema) -> FieldSet:
    """The set with what lies below an atomic field counted as that field: the schema may have changed since."""
    changed: FieldSet | None = None
    for name, child in fields.items():
        if not child or name == SELF:
            continue
        below = child_schema(schema, name)
        fit = LEAF if is_atomic(below) else fitted(child, below)
        if fit is not child:
            changed = changed if changed is not None else dict(fields)
            changed[name] = fit
    return changed if changed is not None else fields


def is_atomic(schema: Schema) -> bool:
    """Whether a value of this type is one leaf."""
    if schema.type == "array":
        return schema.list_type not in ("map", "set")
    return schema.map_type == "atomic"


def child_schema(schema: Schema, element: str) -> Schema:
    """The schema of what a path element names; UNTYPED where the schema knows nothing of it."""
    return (schema.field(element[2:]) if element.startswith("f:") else schema.items) or UNTYPED


def members(fields: FieldSet, path: str = "") -> Iterator[str]:
    """The paths in the set as Kubernetes prints them: `.spec.containers[name="web"].image`."""
    for name, child in fields.items():
        if name == SELF:
            continue
        below = path + _shown(name)
        if is_member(child):
            yield below
        yield from members(child, below)


def _shown(element: str) -> str:
    kind, text = element[:2], element[2:]
    match kind:
        case "f:":
            return f".{text}"
        case "k:":
            keys: Object = msgspec.json.decode(text)
            shown = (f"{name}={msgspec.json.encode(value).decode()}" for name, value in keys.items())
            return f"[{','.join(shown)}]"
        case "v:":
            return f"[={text}]"
        case _:
            return f"[{text}]"


def is_well_formed(fields: Any) -> bool:
    """Whether it is a FieldSet: what clients send need not be one."""
    if not isinstance(fields, dict):
        return False
    for name, child in cast("Object", fields).items():
        if name == SELF:
            if child != {}:
                return False
            continue
        if name[:2] not in ("f:", "k:", "v:", "i:") or not is_well_formed(child):
            return False
        if name[:2] in ("k:", "v:"):
            try:
                value: Any = msgspec.json.decode(name[2:])
            except msgspec.DecodeError:
                return False
            if name[0] == "k" and not isinstance(value, dict):
                return False
    return True
