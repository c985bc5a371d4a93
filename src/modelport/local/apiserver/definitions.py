"""CustomResourceDefinitions of the kinds that are built in: for clients that look for them; nobody else writes them."""

from __future__ import annotations

import uuid

from modelport.kube.condition import set_condition
from modelport.kube.meta import timestamp
from modelport.kube.resource import CUSTOM_RESOURCE_DEFINITION, Object
from modelport.local.apiserver.api import Api, decode, key
from modelport.local.apiserver.delete import remove
from modelport.local.apiserver.ledger import Change


async def publish_definitions(api: Api) -> None:
    """Makes the stored definitions those of this version of the server."""
    served = api.registry.of(CUSTOM_RESOURCE_DEFINITION)
    wanted = {one.definition["metadata"]["name"]: one.definition for one in api.registry if one.definition}
    for row in api.store.rows(CUSTOM_RESOURCE_DEFINITION.qualified):
        if row.name not in wanted:
            await remove(api, served, row, decode(row))
    for name, definition in wanted.items():
        row = api.find(served, "", name)
        old = decode(row) if row is not None else None
        if old is None or old["spec"] != definition["spec"]:
            body = _published(api, definition, old)
            await api.store.write(Change(key=key(served, "", name), body=body, before=row))


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
