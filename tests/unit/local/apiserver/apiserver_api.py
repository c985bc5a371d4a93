"""An API server in a thread, and requests to it in the words of the tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from apiserver_process import NETWORK, ROLES, log_file
from apiserver_widget import WIDGETS

from modelport.kinds.catalog import KINDS
from modelport.local.apiserver.app import build
from modelport.local.apiserver.kinds import declared
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.standard import standard
from modelport.local.apiserver.store import Store
from modelport.local.apiserver.tokens import Tokens

LIMIT_S = 20.0
Json = dict[str, Any]


class Server:
    """A running API server."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        tokens = [
            {"name": role, "role": role, "sha256": hashlib.sha256(f"token-{role}".encode()).hexdigest()}
            for role in ROLES
        ]
        (folder / "tokens.json").write_text(json.dumps({"tokens": tokens}))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._uvicorn: uvicorn.Server | None = None
        self.store: Store | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._uvicorn is not None and self._uvicorn.started)

    def stop(self) -> None:
        assert self._uvicorn is not None
        self._uvicorn.should_exit = True
        if self.store is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self.store.end_watches)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "the server does not stop"

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self.store = Store(self.folder / "state.db", **self._options)
            app = build(
                self.store,
                Registry([*standard(NETWORK), *declared([*KINDS, *WIDGETS])]),
                tokens=Tokens(self.folder / "tokens.json"),
                log_files=lambda pod, container, previous: log_file(self.folder, pod, container, previous),
            )
            config = uvicorn.Config(
                app, port=self.port, log_level="warning", lifespan="on", timeout_graceful_shutdown=3
            )
            self._uvicorn = uvicorn.Server(config)
            await self._uvicorn._serve()

        asyncio.run(main())

    def client(self, role: str = "admin") -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer token-{role}"},
            timeout=LIMIT_S,
            trust_env=False,
        )


def wait_until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, "it never came true"
        threading.Event().wait(0.01)


class Api:
    """Requests with the words of the tests: paths, bodies, what came back."""

    def __init__(self, server: Server, http: httpx.Client, namespace: str) -> None:
        self.server, self.http, self.namespace = server, http, namespace

    def path(self, plural: str, name: str = "", group: str = "", *, namespace: str | None = None) -> str:
        groups = {
            "deployments": "apps",
            "replicasets": "apps",
            "controllerrevisions": "apps",
            "widgets": "test.modelport.io",
            "gadgets": "test.modelport.io",
            "endpointslices": "discovery.k8s.io",
            "leases": "coordination.k8s.io",
            "httproutes": "gateway.networking.k8s.io",
            "gateways": "gateway.networking.k8s.io",
            "customresourcedefinitions": "apiextensions.k8s.io",
        }
        group = group or groups.get(plural, "")
        base = f"/apis/{group}/v1" if group else "/api/v1"
        cluster = plural in ("namespaces", "nodes", "gadgets", "customresourcedefinitions")
        where = "" if cluster else f"/namespaces/{namespace or self.namespace}"
        return f"{base}{where}/{plural}{'/' + name if name else ''}"

    def create(self, plural: str, body: Json, **params: Any) -> Json:
        return good(self.http.post(self.path(plural), json=body, params=params), 201)

    def get(self, plural: str, name: str) -> Json:
        return good(self.http.get(self.path(plural, name)))

    def put(self, plural: str, name: str, body: Json, **params: Any) -> Json:
        return good(self.http.put(self.path(plural, name), json=body, params=params))

    def patch(self, plural: str, name: str, body: Any, kind: str = "merge", **params: Any) -> Json:
        return good(self.patched(plural, name, body, kind, **params), 201)

    def patched(
        self, plural: str, name: str, body: Any, kind: str = "merge", **params: Any
    ) -> httpx.Response:
        media = {
            "merge": "application/merge-patch+json",
            "json": "application/json-patch+json",
            "strategic": "application/strategic-merge-patch+json",
            "apply": "application/apply-patch+yaml",
        }[kind]
        if kind == "apply":
            params.setdefault("fieldManager", "tester")
        headers = {"Content-Type": media}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.patch(self.path(plural, name), content=content, headers=headers, params=params)

    def list(self, plural: str, **params: Any) -> Json:
        return good(self.http.get(self.path(plural), params=params))

    def names(self, plural: str, **params: Any) -> list[str]:
        return [item["metadata"]["name"] for item in self.list(plural, **params)["items"]]

    def delete(self, plural: str, name: str, body: Json | None = None, **params: Any) -> httpx.Response:
        return self.http.request("DELETE", self.path(plural, name), json=body, params=params)

    @contextmanager
    def watch(
        self, plural: str, *, accept: str = "application/json", **params: Any
    ) -> Iterator[Iterator[Json]]:
        query = {"watch": "true", "timeoutSeconds": "20"} | params
        with self.http.stream("GET", self.path(plural), params=query, headers={"Accept": accept}) as answer:
            if answer.status_code != 200:
                answer.read()
            assert answer.status_code == 200, answer.text
            yield (json.loads(line) for line in answer.iter_lines() if line)


def good(answer: httpx.Response, code: int = 200) -> Json:
    """The answer's JSON, if it went well."""
    assert answer.status_code in (code, 200), f"{answer.status_code}: {answer.text}"
    return answer.json()


def refused(answer: httpx.Response, code: int, reason: str) -> Json:
    """The one assertion for refusals: a Status with its words, and nothing of the server's insides."""
    assert answer.status_code == code, f"{answer.status_code}: {answer.text}"
    status = answer.json()
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert (status["code"], status["reason"]) == (code, reason), status
    assert status["message"]
    assert "Traceback" not in answer.text
    return status


def pod(name: str = "web", **spec: Any) -> Json:
    body = {"containers": [{"name": "main", "image": "nginx:1"}]} | spec
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": body,
    }


def deployment(name: str = "web", **spec: Any) -> Json:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
    }
    body = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template} | spec
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": body,
    }


def config(name: str = "settings", labels: Json | None = None, **data: str) -> Json:
    meta: Json = {"name": name}
    if labels:
        meta["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def widget(name: str = "one", **spec: Any) -> Json:
    return {
        "apiVersion": "test.modelport.io/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": spec,
    }
