"""What every verb works with: the store, what is served, the clock; and the look-ups that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec

from modelport.kube.errors import ApiError, not_found
from modelport.kube.resource import NAMESPACE, Object, Resource
from modelport.local.apiserver.execution import Execute
from modelport.local.apiserver.fanout import Event
from modelport.local.apiserver.ledger import Key, Row
from modelport.local.apiserver.part import part
from modelport.local.apiserver.quota import Quotas
from modelport.local.apiserver.registry import Registry, Served
from modelport.local.apiserver.store import Store
from modelport.local.apiserver.usage import Measure

Clock = Callable[[], datetime]
LogFiles = Callable[[Object, str, bool], Path | None]
"""Pod, container, whether the run before the last is meant: the file that it has written, there already or not."""
_decode = msgspec.json.decode


class Api:
    """One server's parts."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        random: Random | None = None,
        log_files: LogFiles = lambda pod, container, previous: None,
        execute: Execute | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.random = random or Random()  # noqa: S311 - for names, not for secrets
        self.log_files = log_files
        self.execute = execute
        """None where no node is beside the server; so too `measure`."""
        self.measure = measure
        self.related = Looked(store, registry)
        self.quotas = Quotas(store, registry, lambda: self.clock())

    def find(self, served: Served, namespace: str, name: str) -> Row | None:
        """An object's row as it is now."""
        return self.store.get(key(served, namespace, name))

    def row(self, served: Served, namespace: str, name: str) -> Row:
        """An object's row as it is now. ApiError 404."""
        found = self.find(served, namespace, name)
        if found is None:
            raise not_found(served.resource, name)
        return found

    def check_home(self, served: Served, namespace: str, name: str) -> Key | None:
        """The namespace that a new object needs. ApiError 404 without it, 403 where it is going away."""
        if not served.resource.namespaced:
            return None
        home = Key(NAMESPACE.qualified, "", namespace)
        found = self.store.get(home)
        if found is None:
            raise not_found(NAMESPACE, namespace)
        if decode(found)["metadata"].get("deletionTimestamp"):
            raise ApiError(
                403,
                "Forbidden",
                f'{served.resource.qualified} "{name}" is forbidden: unable to create new content in namespace '
                f"{namespace} because it is being terminated",
                details={
                    "name": name,
                    "group": served.resource.group,
                    "kind": served.resource.plural,
                    "causes": [
                        {
                            "reason": "NamespaceTerminating",
                            "message": f"namespace {namespace} is being terminated",
                            "field": "metadata.namespace",
                        }
                    ],
                },
            )
        return home


class Looked:
    """Plain reads for defaulting and validation (`registry.Related`)."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._texts: dict[tuple[str, tuple[str, ...]], dict[Key, str]] = {}
        store.listen(self._heard)

    def texts(self, resource: Resource, *path: str) -> set[str]:
        """What all objects have at a path. Kept from the first time on, so that a thousand objects are not read for one."""
        wanted = (resource.qualified, path)
        if wanted not in self._texts:
            self._texts[wanted] = {
                Key(row.resource, row.namespace, row.name): _text(decode(row), path)
                for row in self._store.rows(resource.qualified)
            }
        return set(self._texts[wanted].values())

    def _heard(self, events: Sequence[Event]) -> None:
        for (resource, path), known in self._texts.items():
            for event in events:
                row = event.row
                if row.resource == resource:
                    key = Key(row.resource, row.namespace, row.name)
                    if row.deleted:
                        known.pop(key, None)
                    else:
                        known[key] = _text(event.object, path)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object as it is now."""
        found = self._store.get(key(self._registry.of(resource), namespace or "", name))
        return None if found is None else decode(found)

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects as they are now, or those of a namespace."""
        return [decode(row) for row in self._store.rows(resource.qualified, namespace)]


def _text(obj: Object, path: tuple[str, ...]) -> str:
    *above, last = path
    return str(part(obj, *above).get(last) or "")


def key(served: Served, namespace: str, name: str) -> Key:
    """Where the store keeps an object."""
    return Key(served.resource.qualified, namespace if served.resource.namespaced else "", name)


def decode(row: Row) -> Object:
    """A row's object, the caller's own to change."""
    return _decode(row.value)
