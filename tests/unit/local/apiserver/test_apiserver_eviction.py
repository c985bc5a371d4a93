"""Evictions ask the pod's disruption budget: a drain that takes the last replica takes the model."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_api import Api, good, pod, refused

BUDGETS = "poddisruptionbudgets"


def budget(api: Api, *, allowed: int, seen: bool = True, **spec: Any) -> None:
    path = f"/apis/policy/v1/namespaces/{api.namespace}/{BUDGETS}"
    whole = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}} | spec
    good(api.http.post(path, json={"metadata": {"name": "web"}, "spec": whole}), 201)
    status = {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
    if seen:
        body = {"metadata": {"name": "web"}, "status": status | {"observedGeneration": 1}}
        good(api.http.put(f"{path}/web/status", json=body | {"spec": whole}))


def running(api: Api, name: str, *, ready: bool = True) -> None:
    item = pod(name)
    item["metadata"]["labels"] = {"app": "web"}
    made = api.create("pods", item)
    conditions = [{"type": "Ready", "status": str(ready)}]
    made["status"] = {"phase": "Running", "conditions": conditions}
    good(api.http.put(api.path("pods", f"{name}/status"), json=made))


def evict(api: Api, name: str) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return api.http.post(api.path("pods", f"{name}/eviction"), json=body)


def test_a_budget_is_spent_and_then_refuses(api: Api) -> None:
    for name in ("a", "b"):
        running(api, name)
    budget(api, allowed=1)
    good(evict(api, "a"), 201)
    assert api.get("pods", "a")["metadata"]["deletionTimestamp"]
    status = refused(evict(api, "b"), 429, "TooManyRequests")
    assert status["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert "needs 1 healthy pods" in status["details"]["causes"][0]["message"]
    assert "deletionTimestamp" not in api.get("pods", "b")["metadata"]
    good(evict(api, "a"), 201), "what goes already needs no leave"


def test_a_budget_that_nobody_has_looked_at_refuses(api: Api) -> None:
    running(api, "a")
    budget(api, allowed=0, seen=False)
    assert (
        "still being processed"
        in refused(evict(api, "a"), 429, "TooManyRequests")["details"]["causes"][0]["message"]
    )


def test_an_unready_pod_is_no_loss(api: Api) -> None:
    running(api, "a", ready=False)
    budget(api, allowed=0)
    good(evict(api, "a"), 201)


@pytest.mark.parametrize("spec", [{"maxUnavailable": 1}, {"minAvailable": "120%"}, {"minAvailable": -1}])
def test_bounds_that_make_no_sense_are_refused(spec: dict[str, Any], api: Api) -> None:
    body = {"metadata": {"name": "x"}, "spec": {"minAvailable": 1, "selector": {}} | spec}
    refused(api.http.post(f"/apis/policy/v1/namespaces/{api.namespace}/{BUDGETS}", json=body), 422, "Invalid")
