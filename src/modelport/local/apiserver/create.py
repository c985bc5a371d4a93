"""POST: a new object."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from modelport.kube.errors import already_exists, bad_request, invalid, not_found
from modelport.kube.meta import timestamp, validate_meta
from modelport.kube.name import generated_name
from modelport.kube.resource import NAMESPACE, Object
from modelport.kube.schema import fill_defaults
from modelport.kube.schema import validate as validate_schema
from modelport.local.apiserver.api import Api, key
from modelport.local.apiserver.conform import conform
from modelport.local.apiserver.ledger import Change, Exists, Homeless
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.ownership import own
from modelport.local.apiserver.registry import Served

NAME_TRIES = 8
"""How many generated names are tried before giving up."""


async def create(api: Api, served: Served, namespace: str, body: Any, options: WriteOptions) -> bytes:
    """Writes a new object; its JSON. ApiError 400, 403, 404, 409, 422."""
    obj = conform(served, body, namespace, options)
    if obj["metadata"].get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    return await admit_new(api, served, namespace, obj, options)


async def admit_new(
    api: Api, served: Served, namespace: str, obj: Object, options: WriteOptions, *, applied: bool = False
) -> bytes:
    """Completes, checks and writes an object that has its kind and place. Apply ends here too."""
    meta = obj["metadata"]
    prefix = meta.get("generateName") or ""
    generated = bool(prefix) and not meta.get("name")
    for attempt in range(NAME_TRIES):
        if generated:
            meta["name"] = generated_name(prefix, api.random)
        try:
            return await _write(api, served, namespace, _copy(obj), options, applied=applied)
        except Exists:
            if not generated or attempt == NAME_TRIES - 1:
                raise already_exists(served.resource, meta["name"]) from None
    raise AssertionError("unreachable")


async def _write(
    api: Api, served: Served, namespace: str, obj: Object, options: WriteOptions, *, applied: bool
) -> bytes:
    now = api.clock()
    meta = obj["metadata"] = dict(obj["metadata"])
    for field in (
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ):
        meta.pop(field, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = timestamp(now)
    if "status" in served.resource.subresources:
        obj.pop("status", None)
    if served.strategy.generation:
        meta["generation"] = 1
    obj = complete(api, served, obj)
    served.strategy.create(obj, now)
    home = api.check_home(served, namespace, meta.get("name") or "")
    if not applied:
        own(served, None, obj, options.field_manager, now)
    check(api, served, obj, None)
    give_back = served.strategy.reserve(obj)
    try:
        if options.dry_run:
            if api.find(served, namespace, meta["name"]) is not None:
                raise Exists
            if give_back is not None:
                give_back()
            return msgspec.json.encode(obj)
        change = Change(key=key(served, namespace, meta["name"]), body=obj, before=None, home=home)
        return (await api.store.write(change)).value
    except Homeless:
        raise not_found(NAMESPACE, namespace) from None
    except BaseException:
        if give_back is not None:
            give_back()
        raise


def _copy(obj: Object) -> Object:
    return msgspec.json.decode(msgspec.json.encode(obj))


def complete(api: Api, served: Served, obj: Object) -> Object:
    """The object with its kind's defaults."""
    if served.schema is not None:
        obj = fill_defaults(served.schema, obj)
    if served.default is not None:
        obj = served.default(obj, api.related)
    served.strategy.default(obj)
    return obj


def check(api: Api, served: Served, obj: Object, old: Object | None) -> None:
    """Raises ApiError 422 that names all that is wrong with an object."""
    resource = served.resource
    causes = validate_meta(
        obj["metadata"], namespaced=resource.namespaced, check_name=served.strategy.check_name
    )
    if served.schema is not None:
        causes += validate_schema(served.schema, obj)
    causes += served.strategy.validate(obj, old)
    if served.validate is not None:
        causes += served.validate(obj, old, api.related)
    if causes:
        raise invalid(resource, obj["metadata"].get("name") or "", causes)
