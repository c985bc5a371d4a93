"""The objects that services are made of: what differs from the plan is applied, what is not in it is deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from modelport.control.cache import Cache
from modelport.control.failure import owner_uid
from modelport.control.history import LABEL
from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube import resource
from modelport.kube.client import Client
from modelport.kube.condition import is_true
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of, owner_reference
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object, Resource
from modelport.render.route import BY_PATH

MANAGER = "modelport"
APPLIED = "internal.modelport.io/applied"
Name = tuple[str, str]
"""Kind and name of an object that a service is made of."""
KINDS = (resource.DEPLOYMENT, resource.SERVICE, resource.HTTP_ROUTE)


class Made:
    """All of them, of all services."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.routes = Cache(client, resource.HTTP_ROUTE, indexes={"owner": owner, "host": hosts})
        self._by_kind = {
            kind: self.routes
            if kind is resource.HTTP_ROUTE
            else Cache(client, kind, indexes={"owner": owner})
            for kind in KINDS
        }

    @property
    def caches(self) -> list[Cache]:
        """To be run."""
        return list(self._by_kind.values())

    def get(self, kind: Resource, namespace: str, name: str) -> Object | None:
        """One object, as it was seen last."""
        return self._by_kind[kind].get(namespace, name)

    def first_at(self, host: str, namespace: str, service: str) -> str | None:
        """The service that requests to a host go to instead: another one, of the same host, whose route is older. Two
        namespaces can make one of NAME-NAMESPACE: x-c in d, and x in c-d."""
        first = min(self.routes.by("host", host), key=precedence, default=None)
        if first is None:
            return None
        where, name = first["metadata"]["namespace"], first["metadata"]["labels"][LABEL]
        return None if (where, name) == (namespace, service) else f"{where}/{name}"

    async def apply(self, item: Object, plans: Sequence[Object]) -> dict[Name, Object]:
        """Applies what differs, in the plan's order; deletes what is ours and not in the plan. Returns what it wrote."""
        wanted: set[tuple[str, str]] = set()
        applied: dict[Name, Object] = {}
        kinds = {kind.kind: kind for kind in KINDS}
        for plan in plans:
            kind = kinds[plan["kind"]]
            wanted.add((kind.kind, plan["metadata"]["name"]))
            if self._is_early(kind, plan):
                continue
            written = await self._apply_one(kind, item, plan)
            if written is not None:
                applied[kind.kind, plan["metadata"]["name"]] = written
        uid = item["metadata"]["uid"]
        for kind, cache in self._by_kind.items():
            for live in cache.by("owner", uid):
                meta = live["metadata"]
                if (kind.kind, meta["name"]) not in wanted and not meta.get("deletionTimestamp"):
                    try:
                        await self._client.delete(kind, meta["namespace"], meta["name"], uid=meta["uid"])
                    except ApiError as error:
                        if error.code not in (404, 409):
                            raise
        return applied

    def _is_early(self, kind: Resource, plan: Object) -> bool:
        """Whether a route would turn requests to a component that does not answer yet, away from one that does:
        a transformer that is added must not interrupt the predictor."""
        if kind is not resource.HTTP_ROUTE:
            return False
        namespace, name = plan["metadata"]["namespace"], plan["metadata"]["name"]
        live = self._by_kind[kind].get(namespace, name)
        if live is None:
            return False
        before = _backends(live)
        deployments = self._by_kind[resource.DEPLOYMENT]

        def answers(backend: str) -> bool:
            found = deployments.get(namespace, backend)
            return found is not None and is_true(found, "Available")

        added = _backends(plan) - before
        return any(not answers(one) for one in added) and all(answers(one) for one in before)

    async def _apply_one(self, kind: Resource, item: Object, plan: Object) -> Object | None:
        meta = plan["metadata"]
        digest = hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()[:16]
        annotations = {**mapping(meta.get("annotations")), APPLIED: digest}
        full = plan | {
            "metadata": meta | {"annotations": annotations, "ownerReferences": [owner_reference(item)]}
        }
        live = self._by_kind[kind].get(meta["namespace"], meta["name"])
        if live is not None:
            if _is_leaving(live, item):
                raise ApiError(409, "Conflict", f"{kind.kind} {meta['name']} of the former service is going")
            if owner_uid(live) != item["metadata"]["uid"] and not _is_orphan(live, item):
                raise ApiError(
                    422,
                    "Invalid",
                    f"{kind.kind} {meta['name']} is there already and belongs to {_owner_of(live)}."
                    " Delete it, or give this service another name.",
                )
            same = mapping(live["metadata"].get("annotations")).get(APPLIED) == digest
            if same and covers(live, full):
                return None
        return await self._client.apply(kind, full, field_manager=MANAGER)


def precedence(route: Object) -> tuple[str, str]:
    """Sorts routes of one host as Gateway API does: the oldest first, then by `namespace/name`."""
    meta = route["metadata"]
    return meta.get("creationTimestamp", ""), f"{meta['namespace']}/{meta['name']}"


def hosts(item: Object) -> list[str]:
    """The hosts of a service's route, for an index; none of a user's own, and none that all share by paths."""
    if LABEL not in mapping(item["metadata"].get("labels")) or item["metadata"]["name"].endswith(BY_PATH):
        return []
    return cast("list[str]", mapping(item.get("spec")).get("hostnames") or [])


def owner(item: Object) -> list[str]:
    """The uid of who controls an object, for an index."""
    found = owner_uid(item)
    return [found] if found else []


def _is_leaving(live: Object, item: Object) -> bool:
    """Whether an object is of a service of this name that was deleted: the garbage collector is about to take it."""
    owner = controller_of(live)
    return (
        owner is not None
        and (owner["kind"], owner["name"]) == (INFERENCE_SERVICE.kind, item["metadata"]["name"])
        and owner["uid"] != item["metadata"]["uid"]
    )


def _is_orphan(live: Object, item: Object) -> bool:
    """Whether an object is what `kubectl delete --cascade=orphan` has left of a service of this name: it goes on
    serving, and the service that is made anew takes it over."""
    meta = live["metadata"]
    return (
        controller_of(live) is None
        and APPLIED in mapping(meta.get("annotations"))
        and mapping(meta.get("labels")).get(LABEL) == item["metadata"]["name"]
    )


def _backends(route: Object) -> set[str]:
    rules = objects(mapping(route.get("spec")).get("rules"))
    return {str(one.get("name")) for rule in rules for one in objects(rule.get("backendRefs"))}


def _owner_of(live: Object) -> str:
    owner = controller_of(live)
    return f"{owner['kind']} {owner['name']}" if owner is not None else "somebody else"


def covers(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there, whatever else the server or others have added."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return not wanted and live is None
        below = cast("Object", live)
        return all(
            covers(below.get(key), value) if value not in ({}, []) else True
            for key, value in cast("Object", wanted).items()
        )
    if isinstance(wanted, list):
        items = cast("list[Any]", wanted)
        if not isinstance(live, list) or len(cast("list[Any]", live)) != len(items):
            return False
        return all(covers(one, two) for one, two in zip(cast("list[Any]", live), items, strict=True))
    return bool(live == wanted)
