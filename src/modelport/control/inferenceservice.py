"""The InferenceService loop: read from caches, render, apply what differs, delete what is not wanted, tell how it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from modelport.control import events, history, observed
from modelport.control.cache import Cache, Change, Key
from modelport.control.failure import owner_uid
from modelport.control.observed import Observed
from modelport.control.queue import Queue
from modelport.control.status import FETCHED, LATEST, status
from modelport.kinds import config as configuration
from modelport.kinds import servingruntime
from modelport.kinds.clusterstoragecontainer import CLUSTER_STORAGE_CONTAINER, usable
from modelport.kinds.inferenceservice import INFERENCE_SERVICE, InferenceService, decode
from modelport.kinds.inferenceservice.spec import Metadata, Predictor, Spec
from modelport.kinds.problem import Problem
from modelport.kinds.servingruntime import CLUSTER_SERVING_RUNTIME, SERVING_RUNTIME, Runtime
from modelport.kube import resource
from modelport.kube.client import Client
from modelport.kube.condition import find_condition, is_true
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of, owner_reference, timestamp
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object, Resource
from modelport.render.render import is_stopped, render
from modelport.render.rendered import Around, Rendered

log = logging.getLogger(__name__)
MANAGER = "modelport"
APPLIED = "internal.modelport.io/applied"
LABEL = "serving.kserve.io/inferenceservice"
FROZEN = "serving.kserve.io/disable-auto-update"
Made = tuple[str, str]
"""Kind and name of an object that a service is made of."""
MADE = (resource.DEPLOYMENT, resource.SERVICE, resource.HTTP_ROUTE)
"""Kinds that a service is made of."""
Clock = Callable[[], datetime]


def _owner(item: Object) -> list[str]:
    found = owner_uid(item)
    return [found] if found else []


def _service(item: Object) -> list[str]:
    name = mapping(item["metadata"].get("labels")).get(LABEL)
    return [f"{item['metadata'].get('namespace', '')}/{name}"] if name else []


def _identity(item: Object) -> Metadata:
    meta = item["metadata"]
    return Metadata(
        name=meta["name"], namespace=meta["namespace"], uid=meta["uid"], generation=meta.get("generation", 0)
    )


def _is_leaving(live: Object, item: Object) -> bool:
    """Whether an object is of a service of this name that was deleted: the garbage collector is about to take it."""
    owner = controller_of(live)
    return (
        owner is not None
        and (owner["kind"], owner["name"]) == (INFERENCE_SERVICE.kind, item["metadata"]["name"])
        and owner["uid"] != item["metadata"]["uid"]
    )


def _backends(route: Object) -> set[str]:
    rules = objects(mapping(route.get("spec")).get("rules"))
    return {str(one.get("name")) for rule in rules for one in objects(rule.get("backendRefs"))}


def _owner_of(live: Object) -> str:
    owner = controller_of(live)
    return f"{owner['kind']} {owner['name']}" if owner is not None else "somebody else"


def _kept_as_it_is(service: InferenceService) -> bool:
    """KServe's `disable-auto-update`: a service that is Ready is not touched when its runtime or configuration
    changes. A changed spec is carried out."""
    status = service.status
    return (
        service.metadata.annotations.get(FROZEN, "").lower() == "true"
        and status.get("observedGeneration") == service.metadata.generation
        and is_true({"status": status}, "Ready")
        and not is_stopped(service)
    )


class Loop:
    """Everything that the loop knows: caches, and the queue of services to look at."""

    def __init__(self, client: Client, version: str, clock: Clock) -> None:
        self._client = client
        self._version = version
        self._clock = clock
        self.queue: Queue[Key] = Queue()
        self._services = Cache(client, INFERENCE_SERVICE)
        self._runtimes = {kind: Cache(client, kind) for kind in (SERVING_RUNTIME, CLUSTER_SERVING_RUNTIME)}
        self._storage_containers = Cache(client, CLUSTER_STORAGE_CONTAINER)
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
        for cache in (*self._runtimes.values(), self._storage_containers, self._config):
            cache.subscribe(self._all_changed)

    @property
    def caches(self) -> list[Cache]:
        """All of them, to be run."""
        return [
            self._services,
            *self._runtimes.values(),
            self._storage_containers,
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
            # Written by another version of the schema: nothing is changed, and the user is told.
            service = InferenceService(metadata=_identity(item), spec=Spec(predictor=Predictor()))
            problem = Problem("spec", f"does not fit the schema: {error}.", "Apply it anew.", "InvalidSpec")
            rendered = Rendered(problems=[problem])
        else:
            rendered = self._render(service)
        applied: dict[Made, Object] = {}
        if not rendered.problems and not _kept_as_it_is(service):
            try:
                applied = await self._apply(item, rendered)
            except ApiError as error:
                if error.code in (409, 429) or error.code >= 500:
                    raise
                problem = Problem(
                    "", f"its objects cannot be applied: {error.message}", reason="ReconcileFailed"
                )
                rendered.problems.append(problem)
        await self._tell(item, service, rendered, applied)
        return None

    def _render(self, service: InferenceService) -> Rendered:
        config, problems = configuration.decode(self._config.get(configuration.NAMESPACE, configuration.NAME))
        if problems and not is_stopped(service):
            return Rendered(problems=problems)
        around = Around(
            config=config,
            runtimes=self._known_runtimes(service.metadata.namespace),
            storage_containers=usable(self._storage_containers.all()),
        )
        try:
            return render(service, around, self._version)
        except Exception as error:
            # A fault of ours must not look like a service that is still being made.
            log.exception("rendering %s/%s", service.metadata.namespace, service.metadata.name)
            words = f"cannot be carried out, by a fault of this platform: {type(error).__name__}: {error}."
            return Rendered(problems=[Problem("spec", words, "Please report it.", "InternalError")])

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

    async def _apply(self, item: Object, rendered: Rendered) -> dict[Made, Object]:
        """Applies what differs, in the plan's order; deletes what is ours and not in the plan. Returns what it wrote."""
        wanted: set[tuple[str, str]] = set()
        applied: dict[Made, Object] = {}
        kinds = {kind.kind: kind for kind in MADE}
        for plan in rendered.objects:
            kind = kinds[plan["kind"]]
            wanted.add((kind.kind, plan["metadata"]["name"]))
            if self._is_early(kind, plan):
                continue
            written = await self._apply_one(kind, item, plan)
            if written is not None:
                applied[kind.kind, plan["metadata"]["name"]] = written
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
        return applied

    def _is_early(self, kind: Resource, plan: Object) -> bool:
        """Whether a route would turn requests to a component that does not answer yet, away from one that does:
        a transformer that is added must not interrupt the predictor."""
        if kind is not resource.HTTP_ROUTE:
            return False
        namespace, name = plan["metadata"]["namespace"], plan["metadata"]["name"]
        live = self._made[kind].get(namespace, name)
        if live is None:
            return False
        before = _backends(live)
        deployments = self._made[resource.DEPLOYMENT]

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
        live = self._made[kind].get(meta["namespace"], meta["name"])
        if live is not None:
            if _is_leaving(live, item):
                raise ApiError(409, "Conflict", f"{kind.kind} {meta['name']} of the former service is going")
            if owner_uid(live) != item["metadata"]["uid"]:
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

    def _observe(self, item: Object, rendered: Rendered, applied: Mapping[Made, Object]) -> Observed:
        """What there is now. What was just written counts, not the cache's older copy: else a spec that was
        applied a moment ago would be told to serve already."""

        def find(kind: Resource, name: str) -> Object | None:
            return applied.get((kind.kind, name)) or self._made[kind].get(namespace, name)

        meta = item["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        pods = self._pods.by("service", f"{namespace}/{name}")
        names = {part.component: part.name for part in rendered.parts}
        if rendered.problems:  # what served before goes on, and is looked at
            names = {one: f"{name}-{one}" for one in ("predictor", "transformer", "explainer")}
        components: dict[str, observed.Component] = {}
        for component, called in names.items():
            live = find(resource.DEPLOYMENT, called)
            if live is None and rendered.problems:
                continue
            sets = self._sets.by("owner", live["metadata"]["uid"]) if live is not None else []
            own = [pod for pod in pods if pod["metadata"]["labels"].get("component") == component]
            components[component] = observed.component(live, sets, own)
        routes = {
            plan["metadata"]["name"]: observed.route(find(resource.HTTP_ROUTE, plan["metadata"]["name"]))
            for plan in rendered.objects
            if plan["kind"] == "HTTPRoute"
        }
        return Observed(components=components, routes=routes)

    async def _tell(
        self, item: Object, service: InferenceService, rendered: Rendered, applied: Mapping[Made, Object]
    ) -> None:
        """Writes status, events and the history, each only where it changed."""
        now = self._clock()
        before: Object = mapping(item.get("status"))
        after = status(service, before, rendered, self._observe(item, rendered, applied), now)
        # First, so that whoever is told that a spec serves can go back to it.
        await self._remember(item, after, now)
        if after != before:
            await self._client.replace(INFERENCE_SERVICE, item | {"status": after}, subresource="status")
            for kind, reason, message in transitions(before, after, service.metadata.name):
                await events.record(self._client, item, kind, reason, message, now)

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
        # The way back stays open, after however many specs that never served.
        way_back = next((one for one in reversed(kept) if one is not mine and history.ready_at(one)), None)
        for old in kept[: max(0, len(kept) + (mine is None) - history.KEPT)]:
            if old is not mine and old is not way_back:
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
    was, now = (find_condition(one.get("conditions"), FETCHED) or {} for one in (before, after))
    if now.get("status") == "True" and now.get("message") != was.get("message"):
        found.append(("Normal", FETCHED, now.get("message") or ""))
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
