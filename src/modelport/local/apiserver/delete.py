"""DELETE: at once, or marked and finished later by whoever holds it (grace period, finalizers)."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from starlette.responses import Response

from modelport.kube.errors import conflict, not_found
from modelport.kube.meta import timestamp
from modelport.kube.part import texts
from modelport.kube.resource import Object
from modelport.local.apiserver.accept import parse
from modelport.local.apiserver.answer import one, plain, success
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.body import read_body
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.ledger import Change, Changed, Missing, Occupied, Row
from modelport.local.apiserver.options import DeleteOptions, delete_options
from modelport.local.apiserver.part import part
from modelport.local.apiserver.registry import Served

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
"""Finalizers for the garbage collector: let the dependents go free; delete them first."""
TRIES = 10


class Deleted(msgspec.Struct):
    """What became of an object."""

    value: bytes
    """The object as it is, or as it last was."""
    gone: bool


async def delete_one(call: Call) -> Response:
    """The object where it stays a while or its kind wants that, else a Status. ApiError 400, 403, 404, 409."""
    done = await delete(call.api, call.served.kept, call.namespace, call.name, await asked(call))
    if not done.gone or call.served.strategy.returns_deleted:
        return one(call, done.value)
    obj: Object = msgspec.json.decode(done.value)
    resource = call.served.resource
    details: Object = {"name": call.name}
    if resource.group:
        details["group"] = resource.group
    return plain(success(details | {"kind": resource.plural, "uid": obj["metadata"]["uid"]}), call.form)


async def asked(call: Call) -> DeleteOptions:
    """How a request wants something deleted. ApiError 400."""
    content = await read_body(call.request)
    body = await parse(content, call.request.headers.get("content-type", "")) if content else None
    return delete_options(call.query, body)


async def delete(api: Api, served: Served, namespace: str, name: str, options: DeleteOptions) -> Deleted:
    """Deletes an object, or marks it. ApiError 404 and 409."""
    for _ in range(TRIES):
        row = api.row(served, namespace, name)
        old = decode(row)
        served.strategy.check_deletion(row.name)
        _check_preconditions(served, row, old, options)
        new = _marked(api, served, decode(row), options)
        try:
            if finished(new):
                if options.dry_run:
                    return Deleted(row.value, gone=True)
                return Deleted((await remove(api, served, row, new)).value, gone=True)
            if options.dry_run or new == old:
                return Deleted(msgspec.json.encode(new), gone=False)
            change = Change(key=key(served, namespace, name), body=new, before=row)
            return Deleted((await api.store.write(change)).value, gone=False)
        except Missing:
            raise not_found(served.resource, name) from None
        except Changed:
            continue
        except Occupied:
            raise conflict(served.resource, name, "objects have come into the namespace meanwhile") from None
    raise conflict(served.resource, name)


def finished(obj: Object) -> bool:
    """Whether a deleted object has nothing left to wait for."""
    meta = obj["metadata"]
    return bool(
        meta.get("deletionTimestamp")
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
        # A namespace's content goes first.
        and not (obj["kind"] == "Namespace" and part(obj, "spec").get("finalizers"))
    )


async def remove(api: Api, served: Served, row: Row, last: Object) -> Row:
    """Takes an object out of the store; its last state, with the version of the removal."""
    empties = row.name if served.resource.kind == "Namespace" and not served.resource.group else ""
    change = Change(
        key=key(served, row.namespace, row.name), body=last, before=row, deleted=True, empties=empties
    )
    return await api.store.write(change)


def _check_preconditions(served: Served, row: Row, old: Object, options: DeleteOptions) -> None:
    uid = old["metadata"]["uid"]
    if options.uid is not None and options.uid != uid:
        raise conflict(
            served.resource,
            row.name,
            f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {uid}",
        )
    if options.version is not None and options.version != str(row.version):
        raise conflict(
            served.resource,
            row.name,
            f"Precondition failed: ResourceVersion in precondition: {options.version}, ResourceVersion in "
            f"object meta: {row.version}",
        )


def _marked(api: Api, served: Served, obj: Object, options: DeleteOptions) -> Object:
    """The object with the marks of a deletion: time, grace, the garbage collector's finalizers."""
    meta = obj["metadata"]
    now = api.clock()
    finalizers = texts(meta.get("finalizers"))
    wanted = {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(options.propagation or "")
    if options.propagation is not None:
        finalizers = [name for name in finalizers if name not in (ORPHAN, FOREGROUND)]
        if wanted:
            finalizers.append(wanted)
    meta.pop("finalizers", None)
    if finalizers:
        meta["finalizers"] = finalizers
    grace_s = served.strategy.grace_s(obj, options.grace_s)
    if not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace_s))
        meta["deletionGracePeriodSeconds"] = grace_s
        if served.strategy.generation:
            meta["generation"] = meta.get("generation", 0) + 1
        served.strategy.deleting(obj)
    elif grace_s < (meta.get("deletionGracePeriodSeconds") or 0):
        # A second deletion may only hurry.
        meta["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace_s))
        meta["deletionGracePeriodSeconds"] = grace_s
    return obj
