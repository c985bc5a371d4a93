"""What PUT and PATCH share: an object's next state, checked, and written if nobody was faster."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from modelport.kube.errors import Cause, conflict, invalid, not_found
from modelport.kube.resource import Object
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.create import check, complete
from modelport.local.apiserver.delete import finished, remove
from modelport.local.apiserver.ledger import Change, Changed, Missing, Row
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.ownership import own
from modelport.local.apiserver.registry import Served

TRIES = 10
"""How often a write that names no version is tried again when somebody else was faster."""

Next = Callable[[Object, Object], Object]
"""From two copies of the object as it is, the object as it is to be: the first copy may be changed."""


async def update(
    api: Api,
    served: Served,
    namespace: str,
    name: str,
    next_state: Next,
    options: WriteOptions,
    *,
    subresource: str = "",
    applied: bool = False,
) -> bytes:
    """The object as written. ApiError 404, 409, 422."""
    for attempt in range(TRIES):
        row = api.row(served, namespace, name)
        old = decode(row)
        new = next_state(decode(row), old)
        _check_identity(served, row, new, old)
        try:
            return await _write(api, served, row, new, old, options, subresource, applied=applied)
        except Missing:
            raise not_found(served.resource, name) from None
        except Changed:
            if attempt == TRIES - 1:
                raise conflict(served.resource, name) from None
    raise AssertionError("unreachable")


def _check_identity(served: Served, row: Row, new: Object, old: Object) -> None:
    """ApiError 409 where the writer named a version that is not the present one, or another object's uid."""
    meta, before = new["metadata"], old["metadata"]
    uid = meta.get("uid") or before["uid"]
    if uid != before["uid"]:
        raise conflict(
            served.resource,
            row.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}",
        )
    version = meta.get("resourceVersion")
    if version and version != str(row.version):
        raise conflict(served.resource, row.name)


async def _write(
    api: Api,
    served: Served,
    row: Row,
    new: Object,
    old: Object,
    options: WriteOptions,
    subresource: str,
    *,
    applied: bool,
) -> bytes:
    now = api.clock()
    new = _keep(served, new, old, subresource)
    if subresource != "status":
        new = complete(api, served, new)
        served.strategy.update(new, old)
        _count(served, new, old)
    if not applied:
        own(served, old, new, options.field_manager, now, subresource)
    check(api, served, new, old)
    if _same(new, old):
        return row.value
    if options.dry_run:
        return msgspec.json.encode(new)
    if finished(new):
        return (await remove(api, served, row, new)).value
    change = Change(key=key(served, row.namespace, row.name), body=new, before=row)
    return (await api.store.write(change)).value


def _keep(served: Served, new: Object, old: Object, subresource: str) -> Object:
    """Puts back what this way of writing may not touch."""
    meta, before = dict(new["metadata"]), old["metadata"]
    if meta.get("name", before["name"]) != before["name"]:
        raise invalid(
            served.resource,
            before["name"],
            [Cause("metadata.name", "FieldValueInvalid", "Invalid value: field is immutable")],
        )
    if subresource == "status":
        meta = dict(before) | {k: v for k, v in meta.items() if k == "managedFields"}
        kept = {k: v for k, v in old.items() if k != "status"}
        if "status" in new:
            kept["status"] = new["status"]
        return kept | {"metadata": meta}
    for field in (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ):
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)
    meta.pop("selfLink", None)
    if "managedFields" not in meta and "managedFields" in before:
        meta["managedFields"] = before["managedFields"]
    new = new | {"metadata": meta}
    if "status" in served.resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new


def _count(served: Served, new: Object, old: Object) -> None:
    """A changed spec is a new generation."""
    if served.strategy.generation and _spec(new) != _spec(old):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _spec(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in ("metadata", "status")}


def _same(new: Object, old: Object) -> bool:
    """Whether nothing has changed but the times in managedFields: then nothing is written."""
    return _without_times(new) == _without_times(old)


def _without_times(obj: Object) -> Object:
    fields = obj["metadata"].get("managedFields")
    if not fields:
        return obj
    timeless = [{k: v for k, v in entry.items() if k != "time"} for entry in fields]
    return obj | {"metadata": obj["metadata"] | {"managedFields": timeless}}
