"""Namespaces: those that are always there, and those that go away with all that is in them."""

from __future__ import annotations

import logging
from typing import Any, cast

from starlette.responses import Response

from modelport.kube.errors import ApiError, bad_request, conflict
from modelport.kube.resource import NAMESPACE, POD, Object
from modelport.local.apiserver.accept import parse
from modelport.local.apiserver.answer import one
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.body import read_body
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.create import create
from modelport.local.apiserver.delete import delete, finished, remove
from modelport.local.apiserver.ledger import Change, Changed, Missing, Occupied
from modelport.local.apiserver.options import DeleteOptions, WriteOptions
from modelport.local.apiserver.part import texts
from modelport.local.apiserver.rounds import whenever_changed
from modelport.local.apiserver.state_file import StoreError

log = logging.getLogger(__name__)

ALWAYS = ("default", "kube-system", "kube-public", "kserve")
CHECK_S = 30.0
"""How soon all are, whatever the watch says."""
TRIES = 10


async def make(api: Api) -> None:
    """Makes those that are always there."""
    served = api.registry.of(NAMESPACE)
    for name in ALWAYS:
        if api.find(served, "", name) is None:
            body = {"metadata": {"name": name}}
            await create(api, served, "", body, WriteOptions(field_manager="modelport"))


async def empty_those_going(api: Api) -> None:
    """Empties namespaces that are going away, until cancelled. Any object may hold one up by a finalizer."""
    await whenever_changed(api, NAMESPACE, _sweep, check_s=CHECK_S)


async def _sweep(api: Api) -> bool:
    """One round over all namespaces; whether some are still going."""
    going = [row.name for row in api.store.rows(NAMESPACE.qualified) if _is_going(decode(row))]
    for name in going:
        try:
            await _empty(api, name)
        except (ApiError, StoreError) as error:
            log.warning("namespace %s: %s", name, error)
    return bool(going)


def _is_going(namespace: Object) -> bool:
    return bool(namespace["metadata"].get("deletionTimestamp"))


async def _empty(api: Api, name: str) -> None:
    left = 0
    # Pods first, all else once they are gone: it may be what they need to end well.
    namespaced = [one for one in api.registry.kinds() if one.resource.namespaced]
    pods = [one for one in namespaced if one.resource == POD and api.store.rows(POD.qualified, name)]
    for served in pods or namespaced:
        for row in api.store.rows(served.resource.qualified, name):
            left += 1
            if decode(row)["metadata"].get("deletionTimestamp"):
                continue
            try:
                await delete(api, served, name, row.name, DeleteOptions(propagation="Background"))
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
    if not left:
        await _set_finalizers(api, name, without="kubernetes")


async def finalize(call: Call) -> Response:
    """PUT of `namespaces/finalize`: its finalizers; without any, one that is going away is gone. ApiError 400, 404."""
    if call.verb != "update":
        raise ApiError(405, "MethodNotAllowed", "namespaces/finalize is written by PUT")
    body: Any = await parse(await read_body(call.request), call.request.headers.get("content-type", ""))
    spec = cast("Object", body).get("spec") if isinstance(body, dict) else None
    names: Any = cast("Object", spec).get("finalizers") if isinstance(spec, dict) else None
    if names is not None and not (
        isinstance(names, list) and all(isinstance(item, str) for item in cast("list[Any]", names))
    ):
        raise bad_request("spec.finalizers: must be a list of names")
    value = await _set_finalizers(call.api, call.name, names=cast("list[str]", names or []))
    return one(call, value)


async def _set_finalizers(api: Api, name: str, *, names: list[str] | None = None, without: str = "") -> bytes:
    served = api.registry.of(NAMESPACE)
    for _ in range(TRIES):
        row = api.row(served, "", name)
        obj = decode(row)
        given = texts(obj, "spec", "finalizers")
        kept = names if names is not None else [one for one in given if one != without]
        obj["spec"] = {"finalizers": kept} if kept else {}
        try:
            if finished(obj):
                return (await remove(api, served, row, obj)).value
            if kept == given:
                return row.value
            return (await api.store.write(Change(key=key(served, "", name), body=obj, before=row))).value
        except Changed:
            continue
        except Occupied:
            # Something came in between the look and the removal: the next round takes it.
            return row.value
        except Missing:
            return row.value
    raise conflict(NAMESPACE, name)
