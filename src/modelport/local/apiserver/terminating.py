"""Namespaces: those that are always there, and those that go away with all that is in them."""

from __future__ import annotations

import logging
from typing import Any, cast

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import NAMESPACE, Object
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.create import create
from modelport.local.apiserver.delete import delete, finished, remove
from modelport.local.apiserver.ledger import Change
from modelport.local.apiserver.options import DeleteOptions, WriteOptions
from modelport.local.apiserver.registry import Served

log = logging.getLogger(__name__)
ALWAYS = ("default", "kube-system", "kube-public", "kserve")
AGAIN_S = 0.5


async def found_namespaces(api: Api) -> None:
    """Makes those that are always there."""
    served = api.registry.of(NAMESPACE)
    for name in ALWAYS:
        if api.find(served, "", name) is None:
            await create(
                api, served, "", {"metadata": {"name": name}}, WriteOptions(field_manager="modelport")
            )


async def terminate(api: Api) -> None:
    """Empties namespaces that are going away, until cancelled."""
    served = api.registry.of(NAMESPACE)
    watcher, past = await api.store.watch(NAMESPACE.qualified, api.store.version)
    try:
        async for _ in past:
            pass
        while True:
            going = [row.name for row in api.store.rows(NAMESPACE.qualified) if _going(decode(row))]
            for name in going:
                try:
                    await _empty(api, served, name)
                except ApiError as error:
                    log.warning("namespace %s: %s", name, error)
            await watcher.take(AGAIN_S if going else None)
    finally:
        watcher.close()


def _going(namespace: Object) -> bool:
    return bool(namespace["metadata"].get("deletionTimestamp"))


async def _empty(api: Api, served: Served, name: str) -> None:
    left = 0
    for one in api.registry:
        if not one.resource.namespaced:
            continue
        for row in api.store.rows(one.resource.qualified, name):
            left += 1
            if not decode(row)["metadata"].get("deletionTimestamp"):
                try:
                    await delete(api, one, name, row.name, DeleteOptions(propagation="Background"))
                except ApiError as error:
                    if error.code != 404:
                        raise
    if not left:
        await finalize(api, served, name, {"spec": {"finalizers": []}})


async def finalize(api: Api, served: Served, name: str, body: Any) -> bytes:
    """Sets a namespace's finalizers; without any, one that is going away is gone. ApiError 400, 404."""
    if not isinstance(body, dict):
        raise bad_request("the body must be a Namespace")
    row = api.row(served, "", name)
    obj = decode(row)
    obj["spec"] = {"finalizers": cast("Object", body).get("spec", {}).get("finalizers") or []}
    if finished(obj):
        return (await remove(api, served, row, obj)).value
    from modelport.local.apiserver.api import key

    return (await api.store.write(Change(key=key(served, "", name), body=obj, before=row))).value
