"""The InferenceService loop: read from caches, render, apply what differs, delete what is not wanted, tell how it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

import msgspec

from modelport.control import events, history, observed
from modelport.control.cache import Cache, Change, Key
from modelport.control.failure import owner_uid
from modelport.control.observed import Observed
from modelport.control.queue import Queue
from modelport.control.status import LATEST, status
from modelport.kinds import config as configuration
from modelport.kinds import servingruntime
from modelport.kinds.inferenceservice import INFERENCE_SERVICE, InferenceService, decode
from modelport.kinds.problem import Problem
from modelport.kinds.servingruntime import CLUSTER_SERVING_RUNTIME, SERVING_RUNTIME, Runtime
from modelport.kube import resource
from modelport.kube.client import Client
from modelport.kube.condition import find_condition
from modelport.kube.errors import ApiError
from modelport.kube.meta import owner_reference, timestamp
from modelport.kube.part import mapping
from modelport.kube.resource import Object, Resource
from modelport.render.render import render
from modelport.render.rendered import Around, Rendered

log = logging.getLogger(__name__)
MANAGER = "modelport"
APPLIED = "internal.modelport.io/applied"
LABEL = "serving.kserve.io/inferenceservice"
MADE = (resource.DEPLOYMENT, resource.SERVICE, resource.HTTP_ROUTE)
"""Kinds that a service is made of."""
Clock = Callable[[], datetime]


def _owner(item: Object) -> list[str]:
    found = owner_uid(item)
    return [found] if found else []


def _service(item: Object) -> list[str]:
    name = mapping(item["metadata"].get("labels")).get(LABEL)
    return [f"{item['metadata'].get('namespace', '')}/{name}"] if name else []


class Loop:
    """Everything that the loop knows: caches, and the queue of services to look at."""

    def __init__(self, client: Client, version: str, clock: Clock) -> None:
        self._client = client
        self._version = version
        self._clock = clock
        self.queue: Queue[Key] = Queue()
        self._services = Cache(client, INFERENCE_SERVICE)
        self._runtimes = {kind: Cache(client, kind) for kind in (SERVING_RUNTIME, CLUSTER_SERVING_RUNTIME)}
        self._made = {kind: Cache(client, kind, indexes={"owner": _owner}) for kind in MADE}
        self._sets = Cache(client, resource.REPLICA_SET, indexes={"owner": _owner})
        self._pods = Cache(client, resource.POD, labels=LABEL, indexes={"service": _service})
        self._revisions = Cache(client, resource.CONTROLLER_REVISION, indexes={"owner": _owner})
        self._config = Cache(
            client,
            resource.CONFIG_MAP,
            namespace=configuration.NAMESPACE,
            fields=f"metadata.name={configuration.NAME}",
        )
        self._services.subscribe(self._changed)
        for cache in (*self._made.values(), self._sets, self._pods):
            cache.subscribe(self._below_changed)
        for cache in (*self._runtimes.values(), self._config):
            cache.subscribe(self._all_changed)

    @property
    def caches(self) -> list[Cache]:
        """All of them, to be run."""
        return [
            self._services,
            *self._runtimes.values(),
            *self._made.values(),
            self._sets,
            self._pods,
            self._revisions,
            self._config,
        ]

    def _changed(self, change: Change) -> None:
        meta = change.object["metadata"]
        self.queue.add((meta["namespace"], meta["name"]))

    def _below_changed(self, change: Change) -> None:
        meta = change.object["metadata"]
        name = mapping(meta.get("labels")).get(LABEL)
        if name:
            self.queue.add((meta["namespace"], name))

    def _all_changed(self, change: Change) -> None:
        del change
        for item in self._services.all():
            self.queue.add((item["metadata"]["namespace"], item["metadata"]["name"]))

    async def reconcile(self, key: Key) -> float | None:
        """Brings one service's objects and status to what they are to be."""
        namespace, name = key
        item = self._services.get(namespace, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return None  # the garbage collector takes what it owned
        try:
            service = decode(item)
        except msgspec.ValidationError as error:
            log.warning("%s/%s does not fit the schema: %s", namespace, name, error)
            return None
        rendered = self._render(service)
        if not rendered.problems:
            try:
                await self._apply(item, rendered)
            except ApiError as error:
                if error.code in (409, 429) or error.code >= 500:
                    raise
                problem = Problem(
                    "", f"its objects cannot be applied: {error.message}", reason="ReconcileFailed"
                )
                rendered.problems.append(problem)
        await self._tell(item, service, rendered)
        return None

    def _render(self, service: InferenceService) -> Rendered:
        config, problems = configuration.decode(self._config.get(configuration.NAMESPACE, configuration.NAME))
        if problems:
            return Rendered(problems=problems)
        around = Around(config=config, runtimes=self._known_runtimes(service.metadata.namespace))
        return render(service, around, self._version)

    def _known_runtimes(self, namespace: str) -> list[Runtime]:
        found: list[Runtime] = []
        for kind, cache in self._runtimes.items():
            cluster = kind is CLUSTER_SERVING_RUNTIME
            for item in cache.all(None if cluster else namespace):
                try:
                    found.append(servingruntime.decode(item, cluster=cluster))
                except msgspec.ValidationError as error:
                    log.warning("runtime %s does not fit the schema: %s", item["metadata"]["name"], error)
        return found

    async def _apply(self, item: Object, rendered: Rendered) -> None:
        """Applies what differs, in the plan's order; deletes what is ours and not in the plan."""
        wanted: set[tuple[str, str]] = set()
        kinds = {kind.kind: kind for kind in MADE}
        for plan in rendered.objects:
            kind = kinds[plan["kind"]]
            wanted.add((kind.kind, plan["metadata"]["name"]))
            await self._apply_one(kind, item, plan)
        uid = item["metadata"]["uid"]
        for kind, cache in self._made.items():
            for live in cache.by("owner", uid):
                meta = live["metadata"]
                if (kind.kind, meta["name"]) not in wanted and not meta.get("deletionTimestamp"):
                    try:
                        await self._client.delete(kind, meta["namespace"], meta["name"], uid=meta["uid"])
                    except ApiError as error:
                        if error.code not in (404, 409):
                            raise

    async def _apply_one(self, kind: Resource, item: Object, plan: Object) -> None:
        meta = plan["metadata"]
        digest = hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()[:16]
        annotations = {**mapping(meta.get("annotations")), APPLIED: digest}
        full = plan | {
            "metadata": meta | {"annotations": annotations, "ownerReferences": [owner_reference(item)]}
        }
        live = self._made[kind].get(meta["namespace"], meta["name"])
        if live is not None:
            if owner_uid(live) != item["metadata"]["uid"]:
                raise ApiError(
                    422,
                    "Invalid",
                    f"{kind.kind} {meta['name']} is there already and belongs to somebody else; delete or rename it",
                )
            same = mapping(live["metadata"].get("annotations")).get(APPLIED) == digest
            if same and covers(live, full):
                return
        await self._client.apply(kind, full, field_manager=MANAGER)

    def _observe(self, item: Object, rendered: Rendered) -> Observed:
        meta = item["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        pods = self._pods.by("service", f"{namespace}/{name}")
        names = {part.component: part.name for part in rendered.parts}
        if rendered.problems:  # what served before goes on, and is looked at
            names = {one: f"{name}-{one}" for one in ("predictor", "transformer", "explainer")}
        components: dict[str, observed.Component] = {}
        for component, called in names.items():
            live = self._made[resource.DEPLOYMENT].get(namespace, called)
            if live is None and rendered.problems:
                continue
            sets = self._sets.by("owner", live["metadata"]["uid"]) if live is not None else []
            own = [pod for pod in pods if pod["metadata"]["labels"].get("component") == component]
            components[component] = observed.component(live, sets, own)
        routes = {
            plan["metadata"]["name"]: observed.route(
                self._made[resource.HTTP_ROUTE].get(namespace, plan["metadata"]["name"])
            )
            for plan in rendered.objects
            if plan["kind"] == "HTTPRoute"
        }
        return Observed(components=components, routes=routes)

    async def _tell(self, item: Object, service: InferenceService, rendered: Rendered) -> None:
        """Writes status, events and the history, each only where it changed."""
        now = self._clock()
        before: Object = mapping(item.get("status"))
        after = status(service, before, rendered, self._observe(item, rendered), now)
        if after != before:
            await self._client.replace(INFERENCE_SERVICE, item | {"status": after}, subresource="status")
            for kind, reason, message in transitions(before, after, service.metadata.name):
                await events.record(self._client, item, kind, reason, message, now)
        await self._remember(item, after, now)

    async def _remember(self, item: Object, after: Object, now: datetime) -> None:
        """Keeps the spec as a revision, and when it was Ready."""
        meta = item["metadata"]
        kept = sorted(self._revisions.by("owner", meta["uid"]), key=lambda one: one["revision"])
        name = history.name_of(item)
        newest = kept[-1] if kept else None
        mine = next((one for one in kept if one["metadata"]["name"] == name), None)
        latest = find_condition(after.get("conditions"), LATEST)
        ready = find_condition(after.get("conditions"), "Ready")
        serves = all(c is not None and c["status"] == "True" for c in (latest, ready))
        number = 1 if newest is None else newest["revision"] + (newest is not mine)
        was = history.ready_at(mine) if mine is not None else None
        if mine is not None and newest is mine and (was or not serves):
            return
        plan = history.revision(item, number, was or (timestamp(now) if serves else None))
        await self._client.apply(resource.CONTROLLER_REVISION, plan, field_manager=MANAGER)
        for old in kept[: max(0, len(kept) + (mine is None) - history.KEPT)]:
            if old is not mine:
                await self._client.delete(
                    resource.CONTROLLER_REVISION, meta["namespace"], old["metadata"]["name"]
                )


def transitions(before: Object, after: Object, name: str) -> list[tuple[str, str, str]]:
    """The events that a change of status is worth: type, reason, message."""
    found: list[tuple[str, str, str]] = []
    was, now = (find_condition(one.get("conditions"), "Ready") or {} for one in (before, after))
    if now.get("status") == "True" and was.get("status") != "True":
        found.append(("Normal", "InferenceServiceReady", f"InferenceService [{name}] is Ready"))
    if was.get("status") == "True" and now.get("status") == "False":
        words = now.get("message") or now.get("reason") or ""
        text = f"InferenceService [{name}] is no longer Ready because of: {words}"
        found.append(("Warning", "InferenceServiceNotReady", text))
    was, now = (find_condition(one.get("conditions"), LATEST) or {} for one in (before, after))
    if now.get("status") == "False" and now.get("message") != was.get("message"):
        found.append(("Warning", now.get("reason") or "ModelLoadFailed", now.get("message") or ""))
    was, now = (find_condition(one.get("conditions"), "FieldsIgnored") or {} for one in (before, after))
    if now.get("status") == "True" and now.get("message") != was.get("message"):
        found.append(("Warning", "FieldsIgnored", now.get("message") or ""))
    return found


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
