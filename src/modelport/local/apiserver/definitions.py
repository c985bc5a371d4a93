"""CustomResourceDefinitions of the kinds that are built in: for clients that look for them. Users' own are in `custom`."""

from __future__ import annotations

import uuid
from typing import Any, cast

from modelport.kube.condition import set_condition
from modelport.kube.meta import timestamp
from modelport.kube.part import objects, texts
from modelport.kube.resource import CUSTOM_RESOURCE_DEFINITION, Object
from modelport.kube.schema.kubernetes import definition_name, documents
from modelport.kube.schema.view import METADATA
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.delete import remove
from modelport.local.apiserver.ledger import Change
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.standard import GATEWAY_API
from modelport.local.apiserver.strategies.definition import CLEANUP, Definition


async def publish_definitions(api: Api) -> None:
    """Makes the stored definitions those of this version of the server."""
    served = api.registry.of(CUSTOM_RESOURCE_DEFINITION)
    wanted = {one.definition["metadata"]["name"]: one.definition for one in api.registry if one.definition}
    wanted |= {
        one.resource.qualified: _foreign(one) for one in api.registry if one.resource.group == GATEWAY_API
    }
    if isinstance(served.strategy, Definition):
        served.strategy.built_in = frozenset(wanted)
    for row in api.store.rows(CUSTOM_RESOURCE_DEFINITION.qualified):
        obj = decode(row)
        # Those of users have the finalizer; others are of a version that had more kinds.
        if row.name not in wanted and CLEANUP not in texts(obj["metadata"].get("finalizers")):
            await remove(api, served, row, obj)
    for name, definition in wanted.items():
        row = api.find(served, "", name)
        old = decode(row) if row is not None else None
        if old is None or old["spec"] != definition["spec"]:
            body = _published(api, definition, old)
            await api.store.write(Change(key=key(served, "", name), body=body, before=row))


def _foreign(one: Served) -> Object:
    """The definition of a kind that is no part of Kubernetes on a cluster either: programs look whether it is there."""
    resource, name = one.resource, definition_name(one.resource)
    schema: Object = {"type": "object"}
    if name is not None:
        found = documents([name])
        schema = _inlined({"$ref": f"#/components/schemas/{name}"}, found)
    return {
        "metadata": {"name": resource.qualified},
        "spec": {
            "group": resource.group,
            "names": {
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
            }
            | ({"shortNames": list(resource.short_names)} if resource.short_names else {}),
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def _inlined(schema: Any, found: dict[str, Object]) -> Any:
    """A structural schema: without references, and with metadata as a plain object."""
    if isinstance(schema, list):
        return [_inlined(one, found) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast("Object", schema)
    references = [node, *objects(node.get("allOf"))]
    for reference in references:
        name = str(reference.get("$ref") or "").rpartition("/")[2]
        if name == METADATA:
            return {"type": "object"}
        if name:
            rest = {key: value for key, value in node.items() if key not in ("$ref", "allOf")}
            return _inlined(found[name], found) | rest
    return {
        key: _inlined(value, found) for key, value in node.items() if key != "x-kubernetes-group-version-kind"
    }


def _published(api: Api, definition: Object, old: Object | None) -> Object:
    now = api.clock()
    spec = definition["spec"]
    conditions: list[Object] = []
    for kind, reason, words in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        conditions = set_condition(conditions, kind, "True", reason, words, now)
    meta: Object = {"name": definition["metadata"]["name"]}
    if old is None:
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(now), "generation": 1}
    else:
        meta = old["metadata"] | {"generation": old["metadata"]["generation"] + 1}
    return {
        "apiVersion": CUSTOM_RESOURCE_DEFINITION.api_version,
        "kind": CUSTOM_RESOURCE_DEFINITION.kind,
        "metadata": meta,
        "spec": spec,
        "status": {
            "acceptedNames": spec["names"],
            "conditions": conditions,
            "storedVersions": [version["name"] for version in spec["versions"] if version["storage"]],
        },
    }
