"""What PUT and PATCH share: an object's next state, checked, and written if nobody was faster."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from modelport.kube.errors import conflict, invalid, invalid_value, not_found
from modelport.kube.resource import Object
from modelport.kube.value import same
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.conform import check, complete, copied
from modelport.local.apiserver.delete import finished, remove
from modelport.local.apiserver.ledger import Change, Changed, Missing, Occupied, Row
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.ownership import own
from modelport.local.apiserver.registry import Served

TRIES = 10
"""How often a write that names no version is tried again when somebody else was faster."""
KEPT = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
)
"""Metadata that no update changes."""

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
    for _ in range(TRIES):
        row = api.row(served, namespace, name)
        old = decode(row)
        new = copied(next_state(decode(row), old))
        _check_identity(served, row, new, old)
        try:
            return await _write(api, served, row, new, old, options, subresource, applied=applied)
        except Missing:
            raise not_found(served.resource, name) from None
        except Changed:
            continue
        except Occupied:
            raise conflict(served.resource, name, "objects have come into the namespace meanwhile") from None
    raise conflict(served.resource, name)


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
    if (meta.get("name") or before["name"]) != before["name"]:
        cause = invalid_value("metadata.name", meta["name"], "field is immutable")
        raise invalid(served.resource, before["name"], [cause])


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
    new = _status_alone(served, new, old) if subresource == "status" else _all_but_status(served, new, old)
    if subresource != "status":
        new = complete(api, served, new)
        served.strategy.update(new, old)
        _count(served, new, old)
    if not applied:
        own(served, old, new, options.field_manager, api.clock(), subresource)
    check(api, served, new, old, subresource)
    if same(_without_times(new), _without_times(old)):
        return row.value
    if options.dry_run:
        return msgspec.json.encode(new)
    if finished(new):
        return (await remove(api, served, row, new)).value
    where = key(served, row.namespace, row.name)
    written = api.quotas.charge(served.resource, where, new, old)
    try:
        return (await api.store.write(Change(key=where, body=new, before=row))).value
    finally:
        written()


def _status_alone(served: Served, new: Object, old: Object) -> Object:
    """The old object with the new status. Of Kubernetes' own kinds, labels and annotations come along,

    if the writer says which version it has seen: who tells a status blindly does not mean them.
    """
    kept = {name: value for name, value in old.items() if name != "status"}
    kept["metadata"] = dict(old["metadata"])
    if "managedFields" in new["metadata"]:
        kept["metadata"]["managedFields"] = new["metadata"]["managedFields"]
    if not served.custom and new["metadata"].get("resourceVersion"):
        for field in served.strategy.told_with_status:
            kept["metadata"].pop(field, None)
            if field in new["metadata"]:
                kept["metadata"][field] = new["metadata"][field]
    if new.get("status") is not None:
        kept["status"] = new["status"]
    return kept


def _all_but_status(served: Served, new: Object, old: Object) -> Object:
    """The new object with what is not the writer's to change."""
    meta, before = dict(new["metadata"]), old["metadata"]
    for field in KEPT:
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)
    meta.pop("selfLink", None)
    if "managedFields" not in meta and "managedFields" in before:
        meta["managedFields"] = before["managedFields"]
    new = {**new, "metadata": meta}
    if "status" in served.resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new


def _count(served: Served, new: Object, old: Object) -> None:
    """A changed spec is a new generation."""
    if served.strategy.generation and not same(_spec(new), _spec(old)):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _spec(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _without_times(obj: Object) -> Object:
    """What counts as a change: not the times in managedFields."""
    fields = obj["metadata"].get("managedFields")
    if not fields:
        return obj
    timeless = [{k: v for k, v in entry.items() if k != "time"} for entry in fields]
    return obj | {"metadata": obj["metadata"] | {"managedFields": timeless}}
