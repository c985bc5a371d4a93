"""The InferenceService loop against the real API server and Kubernetes' own controllers; pods live by a test's rule."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelport.control import run as loops
from modelport.control.cache import Cache
from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.client import Client, Unreachable
from modelport.kube.condition import find_condition, set_condition
from modelport.kube.errors import ApiError
from modelport.kube.resource import HTTP_ROUTE, POD
from modelport.local.workloads import run as workloads

# How an API server is started in a test is written once, for tests/unit/local.
_found = importlib.util.spec_from_file_location(
    "embedded_api", Path(__file__).parent.parent / "local" / "conftest.py"
)
assert _found is not None
assert _found.loader is not None
_module = importlib.util.module_from_spec(_found)
_found.loader.exec_module(_module)
embedded = _module.embedded

Rule = Callable[[dict[str, Any]], dict[str, Any]]


def ready(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod that answers."""
    return {
        "phase": "Running",
        "containerStatuses": [
            _container(one, ready=True, started=True, state={"running": {}})
            for one in pod["spec"]["containers"]
        ],
    }


def loading(pod: dict[str, Any], words: str = "") -> dict[str, Any]:
    """A pod that runs, and does not answer yet."""
    state = {"waiting": {"reason": "Fetching", "message": words}} if words else {"running": {}}
    return {
        "phase": "Running",
        "containerStatuses": [_container(one, state=state) for one in pod["spec"]["containers"]],
    }


def crashing(pod: dict[str, Any], words: str, code: int = 1) -> dict[str, Any]:
    """A pod whose container ends again and again, with last words."""
    ended = {"exitCode": code, "reason": "Error", "message": words, "finishedAt": "2026-01-01T00:00:01Z"}
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    return {
        "phase": "Running",
        "containerStatuses": [
            _container(one, state=state, last={"terminated": ended}) for one in pod["spec"]["containers"]
        ],
    }


def unfetched(pod: dict[str, Any], words: str) -> dict[str, Any]:
    """A pod whose model cannot be fetched."""
    ended = {"exitCode": 1, "reason": "Error", "message": words, "finishedAt": "2026-01-01T00:00:01Z"}
    waiting = {"reason": "CrashLoopBackOff", "message": words}
    return {
        "phase": "Pending",
        "initContainerStatuses": [
            _container(one, state={"waiting": waiting}, last={"terminated": ended})
            for one in pod["spec"]["initContainers"]
        ],
    }


def _container(
    one: dict[str, Any],
    *,
    state: dict[str, Any],
    last: dict[str, Any] | None = None,
    ready: bool = False,
    started: bool = False,
) -> dict[str, Any]:
    return {
        "name": one["name"],
        "image": one.get("image", ""),
        "imageID": "",
        "restartCount": 0,
        "ready": ready,
        "started": started,
        "state": state,
        "lastState": last or {},
    }


class Stage:
    """An API server, Kubernetes' controllers, our loop, and by hand: pods and what a gateway says of routes."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.client: Client = api.client
        self.rule: Rule = ready
        self.take_routes = True
        self.control: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        self.api.run(workloads.run(self.client, [INFERENCE_SERVICE]))
        self.api.run(self._hand(POD, self._pod))
        self.api.run(self._hand(HTTP_ROUTE, self._route))
        self.start_control()

    def start_control(self) -> None:
        self.control = self.api.run(loops.run(self.client, "1.0", seed=True))

    async def kill_control(self) -> None:
        assert self.control is not None
        await self.api.kill(self.control)

    async def _hand(self, resource: Any, look: Callable[[dict[str, Any]], Any]) -> None:
        cache = Cache(self.client, resource)
        changed = asyncio.Event()
        cache.subscribe(lambda _: changed.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(cache.run())
            await cache.synced.wait()
            while True:
                for item in cache.all():
                    try:
                        await look(item)
                    except ApiError as error:
                        if error.code not in (404, 409):
                            raise
                    except Unreachable:
                        pass
                # Not wait_for: in Python 3.11 it can lose a cancellation, and the test would never end.
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await changed.wait()
                changed.clear()

    async def _pod(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            await self.client.delete(POD, meta["namespace"], meta["name"], grace_s=0, uid=meta["uid"])
            return
        told = self.rule(pod)
        good = all(one["ready"] for one in told.get("containerStatuses") or [{"ready": False}])
        before = pod.get("status", {})
        conditions = set_condition(
            before.get("conditions"), "Ready", "True" if good else "False", "", "", datetime.now(UTC)
        )
        wanted = told | {"conditions": conditions, "podIP": "127.98.1.1"}
        if any(before.get(key) != value for key, value in wanted.items()):
            body = {"status": {"containerStatuses": None, "initContainerStatuses": None} | wanted}
            await self.client.patch(POD, meta["namespace"], meta["name"], body, subresource="status")

    async def _route(self, route: dict[str, Any]) -> None:
        parents = route.get("status", {}).get("parents")
        generation = route["metadata"]["generation"]
        if not self.take_routes or (
            parents and parents[0]["conditions"][0]["observedGeneration"] >= generation
        ):
            return
        accepted = set_condition(
            [], "Accepted", "True", "Accepted", "It is served.", datetime.now(UTC), generation
        )
        parent = {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "modelport.io/gateway",
            "conditions": accepted,
        }
        body = {"status": {"parents": [parent]}}
        meta = route["metadata"]
        await self.client.patch(HTTP_ROUTE, meta["namespace"], meta["name"], body, subresource="status")

    # What tests ask and do

    async def apply(
        self, name: str = "iris", uri: str = "file:///models/iris", **more: Any
    ) -> dict[str, Any]:
        meta = {"name": name, "namespace": "default"} | more.pop("metadata", {})
        predictor = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}} | more.pop(
            "predictor", {}
        )
        item = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": meta,
            "spec": {"predictor": predictor} | more,
        }
        return await self.client.apply(INFERENCE_SERVICE, item, field_manager="test")

    async def service(self, name: str = "iris") -> dict[str, Any]:
        return await self.client.get(INFERENCE_SERVICE, "default", name)

    async def condition(self, kind: str, name: str = "iris") -> dict[str, Any]:
        item = await self.service(name)
        return find_condition(item.get("status", {}).get("conditions"), kind) or {}

    async def until(self, kind: str, status: str, words: str = "", name: str = "iris") -> dict[str, Any]:
        """The service once a condition has that status and those words."""

        async def holds() -> dict[str, Any] | None:
            item = await self.service(name)
            found = find_condition(item.get("status", {}).get("conditions"), kind) or {}
            seen = item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"]
            told = words in f"{found.get('reason')} {found.get('message')}"
            return item if seen and told and found.get("status") == status else None

        try:
            return await self.api.until(holds)
        except AssertionError as error:
            raise AssertionError(
                f"{kind}={status} {words!r} never came: {await self.service(name)}"
            ) from error

    async def serves(self, name: str = "iris") -> dict[str, Any]:
        """The service once its newest spec serves."""
        await self.until("LatestDeploymentReady", "True", name=name)
        return await self.until("Ready", "True", name=name)


@pytest.fixture
def stage(embedded: Any) -> Callable[[], Any]:
    """`async with stage() as scene:` all of it."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Stage]:
        async with embedded() as api:
            found = Stage(api)
            await found.start()
            yield found

    return start


@pytest.fixture
def pods() -> Any:
    """The states that a pod can be in."""

    class Pods:
        pass

    for state in (ready, loading, crashing, unfetched):
        setattr(Pods, state.__name__, staticmethod(state))
    return Pods
