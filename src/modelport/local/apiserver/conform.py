"""An incoming object made to fit: its kind, its place, its fields; then its defaults, and the rules it must keep."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from modelport.kube.errors import Cause, bad_request, forbidden, invalid
from modelport.kube.meta import validate_meta
from modelport.kube.resource import Object
from modelport.kube.schema import fill_defaults, prune
from modelport.kube.schema import validate as validate_schema
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.duplicate import Written
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.part import texts
from modelport.local.apiserver.registry import Served

_NAMES: dict[Any, str] = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
DEEPEST = 100
"""Levels of nesting that are accepted: more is no object of ours, and would exhaust the stack."""


def conform(served: Served, body: Any, namespace: str, options: WriteOptions) -> Object:
    """The body as an object of this resource in this namespace, without unknown fields. ApiError 400 and 422."""
    resource = served.resource
    if not isinstance(body, dict):
        raise bad_request(f"the body must be an object of kind {resource.kind}, got {_named(body)}")
    _check_depth(body)
    obj = dict(cast("Object", body))
    for field, wanted, words in (
        ("apiVersion", resource.api_version, "API version"),
        ("kind", resource.kind, "kind"),
    ):
        given = obj.get(field) or wanted
        if given != wanted:
            raise bad_request(
                f"the {words} in the data ({_word(given)}) does not match the expected {words} ({wanted})"
            )
        obj[field] = wanted
    meta = obj.get("metadata")
    if meta is not None and not isinstance(meta, dict):
        raise bad_request(f"metadata: must be an object, got {_named(meta)}")
    obj["metadata"] = dict(cast("Object", meta or {}))
    _place(served, obj["metadata"], namespace)
    obj = _without_unknown(served, obj, options)
    # Wrong types first: all that follows relies on the right ones.
    wrong = [one for one in _schema_causes(served, obj) if one.reason == "FieldValueTypeInvalid"]
    if wrong:
        raise invalid(resource, _word(obj["metadata"].get("name")), wrong)
    return obj


def _place(served: Served, meta: Object, namespace: str) -> None:
    if not served.resource.namespaced:
        if meta.get("namespace") == "":
            del meta["namespace"]
        return
    given = meta.get("namespace") or namespace
    if given != namespace:
        raise bad_request(
            f"the namespace of the provided object ({_word(given)}) does not match the namespace sent on the "
            f"request ({namespace})"
        )
    meta["namespace"] = namespace


def _without_unknown(served: Served, obj: Object, options: WriteOptions) -> Object:
    pruned, unknown = (obj, []) if served.schema is None else prune(served.schema, obj)
    problems = [f'duplicate field "{path}"' for path in options.written.twice]
    problems += [f'unknown field "{path}"' for path in unknown]
    if options.written.twice and unknown and not served.custom:
        problems = _in_order(options.written, unknown)
    if problems and options.field_validation == "Strict":
        words = ", ".join(problems)
        resource = served.resource
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {words}"
        )
    if options.field_validation == "Warn":
        options.warnings += problems
    return pruned


def _in_order(written: Written, unknown: list[str]) -> list[str]:
    """Kubernetes reads its own kinds in one go, and tells of what is wrong in the order in which it comes."""
    found: list[str] = []
    seen: set[str] = set()
    for path in written.order:
        if path in seen and path in written.twice:
            found.append(f'duplicate field "{path}"')
        elif path in unknown and path not in seen:
            found.append(f'unknown field "{path}"')
        seen.add(path)
    return list(dict.fromkeys(found))


def complete(api: Api, served: Served, obj: Object) -> Object:
    """The object with its defaults: the kind's own, the schema's, Kubernetes'."""
    if served.default is not None:
        obj = served.default(obj, api.related)
    if served.schema is not None:
        obj = fill_defaults(served.schema, obj)
    served.strategy.default(obj)
    return obj


def check(api: Api, served: Served, obj: Object, old: Object | None, subresource: str = "") -> None:
    """Raises ApiError 422 that names all that is wrong with an object."""
    causes = validate_meta(
        obj["metadata"], namespaced=served.resource.namespaced, check_name=served.strategy.check_name
    )
    causes += _schema_causes(served, obj)
    going = bool(old and old["metadata"].get("deletionTimestamp"))
    if old is not None and going:
        causes += _new_finalizers(obj["metadata"], old["metadata"])
    # A status is its controller's affair; and what is going away must be able to, whatever the rules are by now.
    if subresource != "status" and not causes and not (going and _spec(obj) == _spec(old or {})):
        causes += served.strategy.validate(obj, old)
        if served.validate is not None:
            causes += served.validate(obj, old, api.related)
    if causes:
        raise invalid(served.resource, obj["metadata"].get("name") or "", causes)


def _schema_causes(served: Served, obj: Object) -> list[Cause]:
    return [] if served.schema is None else validate_schema(served.schema, obj)


def _new_finalizers(meta: Object, before: Object) -> list[Cause]:
    known = texts(before, "finalizers")
    added = [one for one in texts(meta, "finalizers") if one not in known]
    if not added:
        return []
    return [
        forbidden(
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted, found new finalizers "
            f"{msgspec.json.encode(added).decode()}",
        )
    ]


def _spec(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def copied(obj: Object) -> Object:
    """A copy that shares nothing: what hooks change in it, they change in it alone."""
    return msgspec.json.decode(msgspec.json.encode(obj))


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise bad_request(f"the body is nested more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        for child in cast("Object", value).values():
            _check_depth(child, depth + 1)
    elif isinstance(value, list):
        for child in cast("list[Any]", value):
            _check_depth(child, depth + 1)


def _named(value: Any) -> str:
    return _NAMES.get(type(value), "a number")


def _word(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else ""
        if value is None
        else msgspec.json.encode(value).decode()[:100]
    )
