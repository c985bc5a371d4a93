"""Kinds that are stored and not carried out yet: each object says so itself, in the condition FieldsIgnored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from modelport.control import events
from modelport.control.cache import Cache, Change, Key
from modelport.control.queue import Queue
from modelport.kinds import config as configuration
from modelport.kinds.catalog import STORED_ONLY
from modelport.kube.client import Client
from modelport.kube.condition import set_condition
from modelport.kube.errors import ApiError
from modelport.kube.part import mapping, objects
from modelport.kube.resource import CONFIG_MAP, Object, Resource

REASON = "NotCarriedOut"


class Stored:
    """Tells of every such object that nothing follows from it."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self.queue: Queue[tuple[Resource, Key]] = Queue()
        self.caches: Sequence[Cache] = [
            Cache(client, kind) for kind in STORED_ONLY if "status" in kind.subresources
        ]
        for cache in self.caches:
            cache.subscribe(self._noticed(cache.resource))
        config = Cache(
            client,
            CONFIG_MAP,
            namespace=configuration.NAMESPACE,
            fields=f"metadata.name={configuration.NAME}",
        )
        config.subscribe(self._noticed(CONFIG_MAP))
        self.caches = [*self.caches, config]

    def _noticed(self, kind: Resource) -> Callable[[Change], None]:
        def add(change: Change) -> None:
            meta = change.object["metadata"]
            self.queue.add((kind, (meta.get("namespace") or "", meta["name"])))

        return add

    async def reconcile(self, key: tuple[Resource, Key]) -> None:
        """Writes the conditions, where they are not there yet."""
        kind, (namespace, name) = key
        cache = next(one for one in self.caches if one.resource is kind)
        item = cache.get(namespace, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return
        if kind is CONFIG_MAP:
            await self._configuration(item)
            return
        before = mapping(item.get("status"))
        after = told(item, before, self._clock())
        if after != before:
            try:
                await self._client.replace(kind, item | {"status": after}, subresource="status")
            except ApiError as error:
                if error.code != 404:
                    raise

    async def _configuration(self, item: Object) -> None:
        """KServe's ConfigMap has no status: an event says what of it nothing follows from."""
        ignored = configuration.ignored(item)
        if ignored:
            words = f"set, but not carried out: {', '.join(sorted(ignored))}. Why: modelport plan"
            await events.record(self._client, item, "Warning", "FieldsIgnored", words, self._clock())


def told(item: Object, before: Object, now: datetime) -> Object:
    """The status of an object that is only kept."""
    kind = item["kind"]
    words = f"{kind} is stored and checked, but not carried out yet by this platform: nothing runs for it."
    fields = ", ".join(f"spec.{name}" for name in sorted(mapping(item.get("spec"))))
    conditions = set_condition(objects(before.get("conditions")), "Ready", "False", REASON, words, now)
    ignored = f"accepted, but not carried out yet: {fields or 'spec'}"
    conditions = set_condition(conditions, "FieldsIgnored", "True", REASON, ignored, now, severity="Info")
    return before | {
        "observedGeneration": item["metadata"].get("generation", 0),
        "conditions": conditions,
    }
