"""ResourceQuotas at the door: what would take more of a namespace than its quotas allow is refused.

Usage is counted from the store itself, not from a quota's status, which may be a moment old: what comes in one after
the other never slips through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from modelport.kube.errors import ApiError
from modelport.kube.quota import NONE, Usage, fits_scopes, missing, parsed, total, usage_of
from modelport.kube.resource import PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_QUOTA, SERVICE, Object, Resource
from modelport.local.apiserver.ledger import Key
from modelport.local.apiserver.part import part
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.store import Store

CHANGING = (SERVICE, PERSISTENT_VOLUME_CLAIM)
"""Kinds whose objects may come to count for more once they are there."""
_decode = msgspec.json.decode


class Quotas:
    """Counts, and refuses."""

    def __init__(self, store: Store, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._coming: dict[Key, tuple[Resource, Object]] = {}
        """What is being written now: admitted, and not in the store yet."""

    def charge(self, resource: Resource, where: Key, obj: Object, old: Object | None) -> Callable[[], None]:
        """Admits a new object, or one that changes. What is returned is called once it is written, or is not.

        ApiError 403 where a quota would be exceeded.
        """
        if old is not None and resource not in CHANGING:
            return _nothing
        quotas = [_decode(row.value) for row in self._store.rows(RESOURCE_QUOTA.qualified, where.namespace)]
        if not quotas:
            return _nothing
        asked, before = usage_of(resource, obj), {} if old is None else usage_of(resource, old)
        more = {name: amount - before.get(name, NONE) for name, amount in asked.items()}
        more = {name: amount for name, amount in more.items() if amount > NONE}
        for quota in quotas:
            self._check(quota, resource, where, obj, more, new=old is None)
        self._coming[where] = (resource, obj)
        return lambda: self._coming.pop(where, None) and None

    def used(self, namespace: str, spec: Object, names: Iterable[str]) -> Usage:
        """How much of these names a quota with that spec sees in use."""
        wanted = set(names)
        found: list[Usage] = []
        for served in self._registry.kinds():
            if not served.resource.namespaced or not _counts(served.resource, wanted):
                continue
            resource = served.resource
            there: dict[Key, Object] = {
                Key(row.resource, row.namespace, row.name): _decode(row.value)
                for row in self._store.rows(resource.qualified, namespace)
            }
            for key, (kind, coming) in self._coming.items():
                if kind == resource and key.namespace == namespace:
                    there[key] = coming
            found += [
                {
                    name: amount
                    for name, amount in usage_of(resource, obj, self._clock()).items()
                    if name in wanted
                }
                for obj in there.values()
                if fits_scopes(spec, resource, obj)
            ]
        return total(found)

    def _check(
        self, quota: Object, resource: Resource, where: Key, obj: Object, more: Usage, *, new: bool
    ) -> None:
        spec, name = part(quota, "spec"), quota["metadata"]["name"]
        if not fits_scopes(spec, resource, obj):
            return
        hard = parsed(part(spec, "hard"))
        if resource == POD and new:
            unsaid = missing(hard, obj)
            if unsaid:
                words = "; ".join(f"{one} for: {','.join(containers)}" for one, containers in unsaid)
                raise _forbidden(resource, where.name, f"failed quota: {name}: must specify {words}")
        limited = {one: amount for one, amount in more.items() if one in hard}
        if not limited:
            return
        used = self.used(where.namespace, spec, limited)
        over = [one for one in sorted(limited) if used.get(one, NONE) + limited[one] > hard[one]]
        if over:
            requested, taken, most = (
                ",".join(f"{one}={amounts.get(one, NONE)}" for one in over)
                for amounts in (limited, used, hard)
            )
            raise _forbidden(
                resource,
                where.name,
                f"exceeded quota: {name}, requested: {requested}, used: {taken}, limited: {most}",
            )


def _counts(resource: Resource, names: set[str]) -> bool:
    """Whether objects of this kind can count for any of these names."""
    if f"count/{resource.qualified}" in names:
        return True
    if resource == POD:
        return any(name == "pods" or not name.startswith("count/") for name in names)
    if resource == SERVICE:
        return any(name.startswith("services") for name in names)
    if resource == PERSISTENT_VOLUME_CLAIM:
        return any("storage" in name or name == "persistentvolumeclaims" for name in names)
    return not resource.group and resource.plural in names


def _forbidden(resource: Resource, name: str, why: str) -> ApiError:
    return ApiError(
        403,
        "Forbidden",
        f'{resource.qualified} "{name}" is forbidden: {why}',
        details={"name": name, "group": resource.group, "kind": resource.plural},
    )


def _nothing() -> None:
    pass
