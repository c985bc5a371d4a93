"""An incoming object made to fit: its kind, its place, the shape that the schema asks for."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.shape import shape


def conform(served: Served, body: Any, namespace: str, options: WriteOptions) -> Object:
    """The body as an object of this resource in this namespace. ApiError 400 and 422."""
    resource = served.resource
    if not isinstance(body, dict):
        raise bad_request(f"the body must be an object of kind {resource.kind}, got {_named(body)}")
    obj = cast("Object", body)
    for field, wanted, words in (
        ("apiVersion", resource.api_version, "API version"),
        ("kind", resource.kind, "kind"),
    ):
        given = obj.setdefault(field, wanted)
        if given != wanted:
            raise bad_request(
                f"the {words} in the data ({given}) does not match the expected {words} ({wanted})"
            )
    meta = obj.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise bad_request(f"metadata: must be an object, got {_named(meta)}")
    _place(served, cast("Object", meta), namespace)
    return shape(served, obj, options)


def _place(served: Served, meta: Object, namespace: str) -> None:
    if not served.resource.namespaced:
        return
    given = meta.get("namespace") or namespace
    if given != namespace:
        raise bad_request(
            f"the namespace of the provided object ({given}) does not match the namespace sent on the request"
            f" ({namespace})"
        )
    meta["namespace"] = namespace


def _named(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
