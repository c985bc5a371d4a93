"""The InferenceService loop: read from caches, render, apply what differs, delete what is not wanted, tell how it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from modelport.control import events, history, observed
from modelport.control.cache import Cache, Change, Key
from modelport.control.made import MANAGER, Made, Name, hosts, owner
from modelport.control.observed import Observed
from modelport.control.queue import Queue
from modelport.control.status import LATEST, status
from modelport.control.transition import transitions
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
from modelport.kube.meta import timestamp
from modelport.kube.part import mapping
from modelport.kube.resource import Object, Resource
from modelport.render.render import is_stopped, render
from modelport.render.rendered import Around, Rendered

log = logging.getLogger(__name__)
LABEL = "serving.kserve.io/inferenceservice"
FROZEN = "serving.kserve.io/disable-auto-update"
Clock = Callable[[], datetime]


def _service(item: Object) -> list[str]:
    name = mapping(item["metadata"].get("labels")).get(LABEL)
    return [f"{item['metadata'].get('namespace', '')}/{name}"] if name else []


def _identity(item: Object) -> Metadata:
    meta = item["metadata"]
    return Metadata(
        name=meta["name"], namespace=meta["namespace"], uid=meta["uid"], generation=meta.get("generation", 0)
    )


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
        self._made = Made(client)
        self._sets = Cache(client, resource.REPLICA_SET, indexes={"owner": owner})
        self._pods = Cache(client, resource.POD, labels=LABEL, indexes={"service": _service})
        self._revisions = Cache(client, resource.CONTROLLER_REVISION, indexes={"owner": owner})
        self._config = Cache(
            client,
            resource.CONFIG_MAP,
            namespace=configuration.NAMESPACE,
            fields=f"metadata.name={configuration.NAME}",
        )
        self._services.subscribe(self._changed)
        for cache in (*self._made.caches, self._sets, self._pods):
            cache.subscribe(self._below_changed)
        self._made.routes.subscribe(self._host_changed)
        for cache in (*self._runtimes.values(), self._storage_containers, self._config):
            cache.subscribe(self._all_changed)

    @property
    def caches(self) -> list[Cache]:
        """All of them, to be run."""
        return [
            self._services,
            *self._runtimes.values(),
            self._storage_containers,
            *self._made.caches,
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

    def _host_changed(self, change: Change) -> None:
        """A route that comes or goes gives or takes its host from others."""
        for host in {host for item in (change.old, change.new) if item for host in hosts(item)}:
            for route in self._made.routes.by("host", host):
                self.queue.add((route["metadata"]["namespace"], route["metadata"]["labels"][LABEL]))

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
        applied: dict[Name, Object] = {}
        if not rendered.problems and not _kept_as_it_is(service):
            try:
                applied = await self._made.apply(item, rendered.objects)
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

    def _observe(self, item: Object, rendered: Rendered, applied: Mapping[Name, Object]) -> Observed:
        """What there is now. What was just written counts, not the cache's older copy: else a spec that was
        applied a moment ago would be told to serve already."""

        def find(kind: Resource, name: str) -> Object | None:
            return applied.get((kind.kind, name)) or self._made.get(kind, namespace, name)

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
            or self._taken(plan, rendered, name)
            for plan in rendered.objects
            if plan["kind"] == "HTTPRoute"
        }
        return Observed(components=components, routes=routes)

    def _taken(self, plan: Object, rendered: Rendered, service: str) -> str | None:
        """Why requests to a route's host never come to it, where another service was there first."""
        host = plan["spec"]["hostnames"][0]
        if host not in {urlsplit(one).netloc for one in (rendered.url, *rendered.component_urls.values())}:
            return None  # asked by a path
        other = self._made.first_at(host, plan["metadata"]["namespace"], service)
        if other is None:
            return None
        return (
            f"requests to {host} go to InferenceService {other}, which had this host first. Give one of them another"
            " name, or set another domainTemplate in the ConfigMap kserve/inferenceservice-config."
        )

    async def _tell(
        self, item: Object, service: InferenceService, rendered: Rendered, applied: Mapping[Name, Object]
    ) -> None:
        """Writes status, events and the history, each only where it changed."""
        now = self._clock()
        before: Object = mapping(item.get("status"))
        after = status(service, before, rendered, self._observe(item, rendered, applied), now)
        # First, so that whoever is told that a spec serves can go back to it.
        await self._remember(item, after, now)
        if after != before:
            try:
                await self._client.replace(INFERENCE_SERVICE, item | {"status": after}, subresource="status")
            except ApiError as error:
                if error.code == 404:
                    return  # deleted while it was looked at
                raise
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
