"""From a struct to the structural OpenAPI schema that a CRD carries: no references, descriptions kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, cast

import msgspec

from modelport.kube.part import objects
from modelport.kube.resource import Object

ANY: Object = {"x-kubernetes-preserve-unknown-fields": True}
Json = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema={"type": "object", **ANY})]
"""A Kubernetes object that stays raw JSON, such as a container."""
JsonList = Annotated[
    list[dict[str, Any]],
    msgspec.Meta(extra_json_schema={"type": "array", "items": {"type": "object", **ANY}}),
]
Keyed = Annotated[
    list[dict[str, Any]],
    msgspec.Meta(
        extra_json_schema={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "required": ["name"],
                **ANY,
            },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        }
    ),
]
"""A list of raw objects whose key is `name`: containers, volumes."""
Quantity = Annotated[
    int | str,
    msgspec.Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "anyOf": None, "type": None}),
]
"""An amount as Kubernetes writes it: 256Mi, 0.5."""
IntOrString = Annotated[
    int | str,
    msgspec.Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "anyOf": None, "type": None}),
]
_KEEP = {
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
}


def structural(kind: type[msgspec.Struct]) -> Object:
    """The schema of a struct."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    return _inline(schema, cast("dict[str, Object]", components))


def paths(schema: Object, before: str = "") -> Iterator[str]:
    """All field paths of a schema, as in `spec.canary[].trafficPercent`."""
    for name, below in cast("dict[str, Object]", schema.get("properties", {})).items():
        path = f"{before}.{name}" if before else name
        yield path
        inner, path = (below["items"], f"{path}[]") if isinstance(below.get("items"), dict) else (below, path)
        yield from paths(cast("Object", inner), path)


def _inline(schema: Object, components: dict[str, Object]) -> Object:
    if "$ref" in schema:
        found = _inline(components[schema["$ref"]], components)
        return found | ({"description": schema["description"]} if "description" in schema else {})
    if schema.get("x-kubernetes-int-or-string") or (
        schema.get("x-kubernetes-preserve-unknown-fields") and schema.get("type") == "object"
    ):
        return {name: value for name, value in schema.items() if name in _KEEP and value is not None}
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            options = [one for one in objects(schema[choice]) if one.get("type") != "null"]
            if len(options) == 1:
                rest = {k: v for k, v in schema.items() if k not in (choice, "default")}
                return _inline(rest | options[0], components)
            return {"x-kubernetes-int-or-string": True} | _described(schema)
    plain = {name: value for name, value in schema.items() if name in _KEEP}
    if "properties" in schema:
        properties = cast("dict[str, Object]", schema["properties"])
        plain["properties"] = {name: _inline(below, components) for name, below in properties.items()}
        plain.setdefault("type", "object")
        if schema.get("required"):
            plain["required"] = schema["required"]
        plain.pop("description", None) if schema.get("title") and not schema.get("description") else None
    items = schema.get("items")
    if isinstance(items, dict):
        item = cast("Object", items)
        plain["items"] = (
            item if item.get("x-kubernetes-preserve-unknown-fields") else _inline(item, components)
        )
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        plain["additionalProperties"] = _inline(cast("Object", more), components) or ANY
    elif plain.get("type") == "object" and "properties" not in plain:
        plain |= ANY
    if "enum" in plain:
        plain["type"] = "string"
    if "type" not in plain and "x-kubernetes-int-or-string" not in plain:
        plain |= ANY
    return plain


def _described(schema: Object) -> Object:
    return {"description": schema["description"]} if "description" in schema else {}
