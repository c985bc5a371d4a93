"""Kinds of the tests' own, as an engineer would declare them: a Widget in namespaces, a Gadget above them."""

from __future__ import annotations

from typing import cast

from modelport.kinds.kind import AGE, Kind, PrinterColumn, Related, whole
from modelport.kinds.problem import Problem
from modelport.kube.resource import CONFIG_MAP, Object, Resource

WIDGET = Resource(
    group="test.modelport.io",
    version="v1",
    kind="Widget",
    plural="widgets",
    singular="widget",
    short_names=("wd",),
    categories=("all",),
    subresources=("status", "scale"),
)
GADGET = Resource(group="test.modelport.io", version="v1", kind="Gadget", plural="gadgets", namespaced=False)

SPEC: Object = {
    "type": "object",
    "description": "What the widget is to be.",
    "properties": {
        "size": {"type": "integer", "minimum": 0, "description": "Its size in millimetres.", "default": 1},
        "replicas": {"type": "integer", "minimum": 0},
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "short": {"type": "string", "description": "Shorthand for `long: {word}`."},
        "long": {"type": "object", "properties": {"word": {"type": "string"}}},
        "selector": {
            "type": "object",
            "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
        },
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "weight": {"type": "number"}},
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
STATUS: Object = {
    "type": "object",
    "properties": {
        "phase": {"type": "string"},
        "replicas": {"type": "integer"},
        "conditions": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {
                    name: {"type": "string"}
                    for name in ("type", "status", "reason", "message", "lastTransitionTime")
                },
            },
        },
    },
}


def _default(obj: Object, related: Related) -> Object:
    """`short` becomes `long`; the size comes from ConfigMap `default/widgets` where it is there."""
    spec = obj.get("spec")
    if isinstance(spec, dict):
        body = cast("Object", spec)
        if isinstance(body.get("short"), str):
            body["long"] = {"word": body.pop("short")}
        config = related.get(CONFIG_MAP, "default", "widgets")
        if config is not None and "colour" not in body:
            body["colour"] = config["data"]["colour"]
    return obj


def _validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    del related
    spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
    if spec.get("size") == 13:
        return [Problem("spec.size", "must not be 13.", "Choose 12 or 14.")]
    if old is not None and before.get("colour", "") != spec.get("colour", ""):
        return [Problem("spec.colour", "cannot change.", reason="FieldValueForbidden")]
    return []


WIDGETS = (
    Kind(
        resource=WIDGET,
        schema=whole("A widget.", SPEC, STATUS),
        columns=(
            PrinterColumn(name="Size", path=".spec.size", type="integer"),
            PrinterColumn(name="Phase", path=".status.phase"),
            PrinterColumn(name="Ready", path='.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn(name="Word", path=".spec.long.word", priority=1),
            AGE,
        ),
        default=_default,
        validate=_validate,
    ),
    Kind(
        resource=GADGET,
        schema=whole("A widget.", {"type": "object", "properties": {"size": {"type": "integer"}}}),
        default=lambda obj, related: obj,
        validate=lambda obj, old, related: [],
    ),
)
