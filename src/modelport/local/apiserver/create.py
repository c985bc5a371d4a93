"""POST: a new object."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from modelport.kube.errors import already_exists, bad_request, not_found
from modelport.kube.meta import timestamp
from modelport.kube.name import generated_name
from modelport.kube.resource import NAMESPACE, Object
from modelport.local.apiserver.api import Api, key
from modelport.local.apiserver.conform import check, complete, conform, copied
from modelport.local.apiserver.ledger import Change, Exists, Homeless
from modelport.local.apiserver.limits import keep_to_limits
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.ownership import own
from modelport.local.apiserver.registry import Served

NAME_TRIES = 8
"""How many generated names are tried before giving up."""
SET_BY_SERVER = (
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
)


async def create(api: Api, served: Served, namespace: str, body: Any, options: WriteOptions) -> bytes:
    """Writes a new object; its JSON. ApiError 400, 403, 404, 409, 422."""
    obj = conform(served, body, namespace, options)
    if obj["metadata"].get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    return await admit_new(api, served.kept, namespace, served.taken(obj), options)


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
            return await _write(api, served, namespace, copied(obj), options, applied=applied)
        except Exists:
            if not generated or attempt == NAME_TRIES - 1:
                raise already_exists(served.resource, meta["name"]) from None
        except Homeless:
            raise not_found(NAMESPACE, namespace) from None
    raise AssertionError("unreachable")


async def _write(
    api: Api, served: Served, namespace: str, obj: Object, options: WriteOptions, *, applied: bool
) -> bytes:
    now = api.clock()
    meta = obj["metadata"]
    for field in SET_BY_SERVER:
        meta.pop(field, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = timestamp(now)
    if served.strategy.generation:
        meta["generation"] = 1
    if "status" in served.resource.subresources:
        obj.pop("status", None)
    obj = complete(api, served, obj)
    home = api.check_home(served, namespace, meta.get("name") or "")
    # What the server sets is nobody's.
    if not applied:
        own(served, None, obj, options.field_manager, now)
    keep_to_limits(served.resource, obj, api.related)
    served.strategy.create(obj, now)
    check(api, served, obj, None)
    where = key(served, namespace, meta["name"])
    if api.store.get(where) is not None:
        raise Exists
    release = served.strategy.reserve(obj, api.related)
    try:
        written = api.quotas.charge(served.resource, where, obj, None)
    except BaseException:
        release()
        raise
    try:
        if options.dry_run:
            return msgspec.json.encode(obj)
        return (await api.store.write(Change(key=where, body=obj, before=None, home=home))).value
    finally:
        written()
        release()
