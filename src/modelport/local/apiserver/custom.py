"""Kinds of the users' own: served as soon as their definition is there, gone with it.

Conversion is none: all versions of a definition show the same objects, each under its own name and by its own schema.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from modelport.kube.condition import set_condition
from modelport.kube.errors import ApiError
from modelport.kube.part import objects, texts
from modelport.kube.resource import CUSTOM_RESOURCE_DEFINITION, Object, Resource
from modelport.kube.schema import custom
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.delete import delete, finished, remove
from modelport.local.apiserver.ledger import Change, Changed, Missing, Row
from modelport.local.apiserver.options import DeleteOptions
from modelport.local.apiserver.part import part
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.rounds import whenever_changed
from modelport.local.apiserver.state_file import StoreError
from modelport.local.apiserver.strategies.definition import CLEANUP, Definition
from modelport.local.apiserver.strategy import Strategy
from modelport.local.apiserver.table import Column

log = logging.getLogger(__name__)

CHECK_S = 300.0
REPLICAS = ".spec.replicas"


def load(api: Api) -> None:
    """Serves what is defined already. At the start, before anybody asks."""
    for row in api.store.rows(CUSTOM_RESOURCE_DEFINITION.qualified):
        _serve(api, decode(row))


class Custom(Strategy):
    """A kind with fields of its own that field selectors may name."""

    def __init__(self, selectable: Iterable[str]) -> None:
        self.selectable = frozenset(selectable)


async def establish(api: Api) -> None:
    """Serves what comes to be defined and takes away what no longer is, until cancelled."""
    await whenever_changed(api, CUSTOM_RESOURCE_DEFINITION, _round, check_s=CHECK_S)


async def _round(api: Api) -> bool:
    """One look at all; whether some are still going."""
    rows = api.store.rows(CUSTOM_RESOURCE_DEFINITION.qualified)
    strategy = api.registry.of(CUSTOM_RESOURCE_DEFINITION).strategy
    built_in = strategy.built_in if isinstance(strategy, Definition) else ()
    api.registry.keep_custom({row.name for row in rows})
    going = False
    for row in rows:
        if row.name in built_in:
            continue
        definition = decode(row)
        try:
            if definition["metadata"].get("deletionTimestamp"):
                going = True
                await _empty(api, row, definition)
            else:
                await _tell(api, row, definition, _serve(api, definition))
        except (ApiError, StoreError, Changed, Missing) as error:
            going = True
            log.debug("definition %s: %s", row.name, error)
    return going


def _serve(api: Api, definition: Object) -> str:
    """Serves the kind; why not, where it is not."""
    name = definition["metadata"]["name"]
    versions, kept = served(definition), stored_version(definition)
    taken = api.registry.native(kept.resource)
    if taken:
        return f"{taken} is a kind of this server already"
    api.registry.set_custom(name, versions, kept)
    return ""


def served(definition: Object) -> list[Served]:
    """The versions that are served, by a definition that has been checked. The stored one may not be among them."""
    kept = stored_version(definition)
    found: list[Served] = []
    for one in objects(part(definition, "spec").get("versions")):
        if one.get("storage") and one.get("served"):
            found.insert(0, kept)
        elif one.get("served"):
            found.append(msgspec.structs.replace(_version(definition, one), read_anew=True, stored=kept))
    return found


def stored_version(definition: Object) -> Served:
    """The version in which objects are kept, whether it is served or not."""
    versions = objects(part(definition, "spec").get("versions"))
    known = texts(part(definition, "status").get("storedVersions"))
    version = next(one for one in versions if one.get("storage"))
    several = len(versions) > 1 or len(known) > 1
    return msgspec.structs.replace(
        _version(definition, version),
        read_anew=several or _has_defaults(part(version, "schema", "openAPIV3Schema")),
    )


def _has_defaults(schema: Any) -> bool:
    """Whether some field has one: then objects that were stored before it came get it as they are read."""
    if isinstance(schema, dict):
        node = cast("Object", schema)
        return "default" in node or any(map(_has_defaults, node.values()))
    return isinstance(schema, list) and any(map(_has_defaults, cast("list[Any]", schema)))


def _version(definition: Object, version: Object) -> Served:
    spec = part(definition, "spec")
    names = part(spec, "names")
    subresources = part(version, "subresources")
    known = ["status"] if "status" in subresources else []
    if part(subresources, "scale").get("specReplicasPath") == REPLICAS:
        known.append("scale")
    schema = part(version, "schema", "openAPIV3Schema")
    return Served(
        resource=Resource(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            namespaced=spec["scope"] == "Namespaced",
            singular=names.get("singular") or "",
            short_names=tuple(texts(names.get("shortNames"))),
            categories=tuple(texts(names.get("categories"))),
            subresources=tuple(known),
        ),
        schema=custom(schema),
        document=schema,
        columns=tuple(
            Column(
                name=one["name"],
                cell=cast("str", one["jsonPath"]),
                type=one.get("type") or "string",
                description=one.get("description") or "",
                priority=one.get("priority") or 0,
            )
            for one in objects(version.get("additionalPrinterColumns"))
        ),
        strategy=Custom(
            str(one.get("jsonPath")).removeprefix(".") for one in objects(version.get("selectableFields"))
        ),
        custom=True,
    )


async def _tell(api: Api, row: Row, definition: Object, trouble: str) -> None:
    """Writes the status, where it is not told yet."""
    spec, now = definition["spec"], api.clock()
    conditions: list[Object] = objects(part(definition, "status").get("conditions"))
    if trouble:
        conditions = set_condition(conditions, "NamesAccepted", "False", "Conflict", trouble, now)
        conditions = set_condition(conditions, "Established", "False", "NotAccepted", trouble, now)
    else:
        words = "no conflicts found"
        conditions = set_condition(conditions, "NamesAccepted", "True", "NoConflicts", words, now)
        words = "the initial names have been accepted"
        conditions = set_condition(conditions, "Established", "True", "InitialNamesAccepted", words, now)
    now_stored = next(one["name"] for one in spec["versions"] if one.get("storage"))
    stored = texts(part(definition, "status").get("storedVersions"))
    stored = stored if now_stored in stored else [*stored, now_stored]
    status = {"acceptedNames": spec["names"], "conditions": conditions, "storedVersions": stored}
    if part(definition, "status") != status:
        body = definition | {"status": status}
        where = key(api.registry.of(CUSTOM_RESOURCE_DEFINITION), "", row.name)
        await api.store.write(Change(key=where, body=body, before=row))


async def _empty(api: Api, row: Row, definition: Object) -> None:
    """Deletes the kind's objects; once there are none, lets the definition go."""
    one = stored_version(definition)
    left = api.store.rows(row.name)
    for item in left:
        if not decode(item)["metadata"].get("deletionTimestamp"):
            await delete(api, one, item.namespace, item.name, DeleteOptions(propagation="Background"))
    kept = [name for name in texts(definition["metadata"].get("finalizers")) if name != CLEANUP]
    if left or len(kept) == len(texts(definition["metadata"].get("finalizers"))):
        return
    definition["metadata"]["finalizers"] = kept
    own = api.registry.of(CUSTOM_RESOURCE_DEFINITION)
    if finished(definition):
        api.registry.drop_custom(row.name)
        await remove(api, own, row, definition)
    else:
        await api.store.write(Change(key=key(own, "", row.name), body=definition, before=row))
