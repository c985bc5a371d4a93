"""A client that writes at random by every verb there is, and remembers what was acknowledged."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

Json = dict[str, Any]
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
NAMES = 6
"""Names of each writer and kind: writers meet in the log, not in an object."""
GONE = None
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


def seen(item: Json) -> Json:
    """What counts of an object."""
    if "data" in item or item.get("kind") == "ConfigMap":
        going = bool(item["metadata"].get("deletionTimestamp"))
        return {"data": item.get("data") or {}, "going": going}
    return {"replicas": item["spec"]["replicas"], "ready": item.get("status", {}).get("readyReplicas", 0)}


class Writer:
    """Writes to objects that nobody else writes to."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.random = random.Random(index)
        self.known: dict[str, Any] = {f"{kind}{index}-{n}": GONE for kind in "cd" for n in range(NAMES)}
        """Name to what was acknowledged last; GONE for none."""
        self.asked: dict[str, Any] = {}
        """What is on its way: afterwards each may have happened or not."""
        self.acknowledged = 0
        self.version = 0
        self.verbs: set[str] = set()

    def write(self, http: httpx.Client) -> None:
        """One call. Transport errors are the caller's."""
        if self.random.random() < 0.03:
            self._delete_collection(http)
            return
        name = self.random.choice(list(self.known))
        before = self.known[name]
        kind = "c" if name.startswith("c") else "d"
        if before is GONE:
            calls = [self._create, self._apply]
        elif kind == "c":
            calls = [self._replace, self._merge, self._json, self._apply, self._delete, self._delete_slowly]
            if before["going"]:
                calls = [self._let_go]
        else:
            calls = [self._scale, self._status, self._strategic, self._delete]
        call: Callable[[str, Any], tuple[tuple[str, str, Json], Any]] = self.random.choice(calls)
        (method, path, more), after = call(name, before)
        self.asked = {name: after}
        answer = http.request(method, path, **more)
        assert answer.status_code in (200, 201), f"{call.__name__}: {answer.text}"
        self.known[name] = after
        self._heard(answer, call.__name__)

    def _heard(self, answer: httpx.Response, verb: str) -> None:
        self.asked = {}
        self.acknowledged += 1
        self.verbs.add(verb.strip("_"))
        self.version = max(self.version, int(answer.json()["metadata"].get("resourceVersion") or 0))

    def _data(self) -> dict[str, str]:
        return {"n": str(self.random.randrange(10**9)), "text": "x" * self.random.randrange(3000)}

    def _body(self, name: str, after: Any) -> Json:
        meta: Json = {"name": name, "labels": {"writer": f"w{self.index}"}}
        if name.startswith("c"):
            return {"metadata": meta, "data": after["data"]}
        labels = {"app": name}
        containers = [{"name": "main", "image": "i"}]
        return {
            "metadata": meta,
            "spec": {
                "replicas": after["replicas"],
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
        }

    def _new(self, name: str) -> Any:
        if name.startswith("c"):
            return {"data": self._data(), "going": False}
        return {"replicas": self.random.randrange(9), "ready": 0}

    def _create(self, name: str, _: Any) -> Any:
        after = self._new(name)
        return ("POST", _path(name)[0], {"json": self._body(name, after)}), after

    def _apply(self, name: str, before: Any) -> Any:
        after = self._new(name)
        if before is not GONE:  # what others have set stays
            after["data"] = before["data"] | after["data"]
        kind = {"apiVersion": "v1" if name.startswith("c") else "apps/v1"}
        kind["kind"] = "ConfigMap" if name.startswith("c") else "Deployment"
        request = _patch(name, APPLY, kind | self._body(name, after))
        request[2]["params"] = {"fieldManager": f"w{self.index}", "force": "true"}
        return request, after

    def _replace(self, name: str, _: Any) -> Any:
        after = {"data": self._data(), "going": False}
        return ("PUT", _path(name)[1], {"json": self._body(name, after)}), after

    def _merge(self, name: str, before: Any) -> Any:
        data = self._data()
        return _patch(name, MERGE, {"data": data}), before | {"data": before["data"] | data}

    def _json(self, name: str, before: Any) -> Any:
        data = self._data()
        return _patch(name, JSON_PATCH, [{"op": "replace", "path": "/data", "value": data}]), before | {
            "data": data
        }

    def _strategic(self, name: str, before: Any) -> Any:
        replicas = self.random.randrange(9)
        return _patch(name, STRATEGIC, {"spec": {"replicas": replicas}}), before | {"replicas": replicas}

    def _scale(self, name: str, before: Any) -> Any:
        replicas = self.random.randrange(9)
        body = {"metadata": {"name": name}, "spec": {"replicas": replicas}}
        return ("PUT", f"{_path(name)[1]}/scale", {"json": body}), before | {"replicas": replicas}

    def _status(self, name: str, before: Any) -> Any:
        ready = self.random.randrange(9)
        status = {"replicas": 9, "readyReplicas": ready}
        request = _patch(name, MERGE, {"status": status})
        return (request[0], f"{request[1]}/status", request[2]), before | {"ready": ready}

    def _delete(self, name: str, _: Any) -> Any:
        return ("DELETE", _path(name)[1], {"params": {"propagationPolicy": "Background"}}), GONE

    def _delete_slowly(self, name: str, before: Any) -> Any:
        """Marked, and there until its finalizer goes."""
        body = {"propagationPolicy": "Foreground"}
        return ("DELETE", _path(name)[1], {"params": body}), before | {"going": True}

    def _let_go(self, name: str, _: Any) -> Any:
        return _patch(name, MERGE, {"metadata": {"finalizers": None}}), GONE

    def _delete_collection(self, http: httpx.Client) -> None:
        """Not one transaction: each of them may have happened."""
        there = [name for name, known in self.known.items() if name.startswith("c") and known is not GONE]
        self.asked = dict.fromkeys(there, GONE)  # Background takes the collector's finalizer away, too
        answer = http.request(
            "DELETE",
            CONFIG_MAPS,
            params={"labelSelector": f"writer=w{self.index}", "propagationPolicy": "Background"},
        )
        assert answer.status_code == 200, answer.text
        self.known.update(self.asked)
        self._heard(answer, "delete_collection")

    def check(self, found: dict[str, Any]) -> None:
        """What is there is what was acknowledged, or what was asked for when the server died."""
        for name, known in self.known.items():
            present = found.get(name, GONE)
            allowed = [known] + ([self.asked[name]] if name in self.asked else [])
            assert present in allowed, f"{name}: acknowledged or asked for {allowed}, found {present}"
            self.known[name] = present
        self.asked = {}


def _path(name: str) -> tuple[str, str]:
    collection = CONFIG_MAPS if name.startswith("c") else DEPLOYMENTS
    return collection, f"{collection}/{name}"


def _patch(name: str, media: str, body: Any) -> Any:
    return "PATCH", _path(name)[1], {"content": msgspec.json.encode(body), "headers": {"Content-Type": media}}
