"""The real API server in a test's own event loop, on plain HTTP and a port of its own, and a node that runs nothing."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import uvicorn

from modelport.control.cache import Cache
from modelport.kube.client import Client, Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.meta import timestamp
from modelport.kube.remote import Remote
from modelport.kube.resource import POD, Resource

LIMIT_S = 20.0


class Embedded:
    """An API server, and what tests do with it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.client = self.new_client()
        self._tasks: list[asyncio.Task[Any]] = []
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._store: Any = None

    def new_client(self) -> Client:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        http = httpx2.AsyncClient(base_url=self.url, limits=limits)
        return Client(Remote(http), self.url, token="test")

    async def start(self) -> None:
        from modelport.kinds.catalog import KINDS
        from modelport.local.apiserver.app import build
        from modelport.local.apiserver.kinds import declared
        from modelport.local.apiserver.registry import Registry
        from modelport.local.apiserver.standard import standard
        from modelport.local.apiserver.store import Store
        from modelport.local.apiserver.tokens import Tokens

        digest = hashlib.sha256(b"test").hexdigest()
        tokens = {"tokens": [{"name": "test", "role": "admin", "sha256": digest}]}
        (self.folder / "tokens.json").write_bytes(msgspec.json.encode(tokens))
        self._store = Store(self.folder / "state.db")
        registry = Registry([*standard("127.98"), *declared(KINDS)])
        app = build(
            self._store, registry, tokens=Tokens(self.folder / "tokens.json"), log_files=lambda *_: None
        )
        config = uvicorn.Config(
            app, port=self.port, log_level="error", lifespan="on", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server._serve())
        await self.until(lambda: self._server is not None and self._server.started)

    async def stop(self) -> None:
        """The API server goes away; its state stays."""
        assert self._server is not None
        assert self._serving is not None
        assert self._store is not None
        self._store.end_watches()
        self._server.should_exit = True
        await self._serving

    def run(self, loop: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a loop until the test ends; its error is the test's."""
        task = asyncio.create_task(loop)
        self._tasks.append(task)
        return task

    async def kill(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        self._tasks.remove(task)

    async def settle(self) -> None:
        """Until nothing is on its way to the server but watches: what somebody sent who was killed then arrives, too."""
        assert self._server is not None
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if len(self._server.server_state.tasks) <= self._store.watchers else 0

    async def until(
        self, condition: Callable[[], Any] | Callable[[], Awaitable[Any]], limit_s: float = LIMIT_S
    ) -> Any:
        """Waits for a condition, and fails with what a loop died of, or with what there is."""
        end = asyncio.get_running_loop().time() + limit_s
        while True:
            for task in self._tasks:
                if task.done():
                    task.result()
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            if asyncio.get_running_loop().time() > end:
                raise AssertionError("it never came true")
            await asyncio.sleep(0.01)

    async def all(self, resource: Resource, namespace: str = "default") -> list[dict[str, Any]]:
        return (await self.client.list(resource, namespace)).items

    async def close(self) -> None:
        for task in list(self._tasks):
            await self.kill(task)
        await self.stop()
        await self.client.close()


class Node:
    """Pods become ready at once, by whatever `ready` says, and end when they may."""

    def __init__(self, client: Client, ready: Callable[[dict[str, Any]], bool] = lambda pod: True) -> None:
        self.client, self.ready = client, ready
        self.cache = Cache(client, POD)
        self.most = 0
        """Most pods at any time that were not about to end."""
        self._changed = asyncio.Event()
        self.cache.subscribe(lambda _: self._changed.set())
        self._addresses: dict[str, str] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.cache.run())
            await self.cache.synced.wait()
            while True:
                pods = list(self.cache.all())
                active = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
                self.most = max(self.most, len(active))
                for pod in pods:
                    with suppress(ApiError, Unreachable):
                        await self._look(pod)
                await self._changed.wait()
                self._changed.clear()

    async def _look(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            await self.client.delete(POD, meta["namespace"], meta["name"], grace_s=0, uid=meta["uid"])
            return
        ready = self.ready(pod)
        address = self._addresses.setdefault(meta["uid"], f"127.98.0.{len(self._addresses) + 2}")
        conditions = [
            {
                "type": "Ready",
                "status": "True" if ready else "False",
                "lastTransitionTime": timestamp(datetime.now(UTC)),
            }
        ]
        known = pod.get("status", {}).get("conditions") or []
        if any((one["type"], one["status"]) == ("Ready", conditions[0]["status"]) for one in known):
            return
        status = {"phase": "Running", "podIP": address, "conditions": conditions}
        await self.client.patch(
            POD, meta["namespace"], meta["name"], {"status": status}, subresource="status"
        )


Starter = Callable[[], AbstractAsyncContextManager[Embedded]]


@pytest.fixture
def embedded(tmp_path: Path) -> Starter:
    """`async with embedded() as api:` a real API server."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Embedded]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        api = Embedded(tmp_path, port)
        await api.start()
        try:
            yield api
        finally:
            await api.close()

    return start


@pytest.fixture
def node() -> type[Node]:
    """A node's part, without processes."""
    return Node
