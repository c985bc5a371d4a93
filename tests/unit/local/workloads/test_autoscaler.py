"""The HorizontalPodAutoscaler's arithmetic: Kubernetes' own cases. A wrong number here starves a model, or wastes a machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelport.local.workloads.autoscaler.behavior import Memory, limit
from modelport.local.workloads.autoscaler.decide import decide
from modelport.local.workloads.autoscaler.metric import NoMetric, propose

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = "2026-01-01T10:00:00Z"
CPU: dict[str, Any] = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}
MEMORY: dict[str, Any] = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
}


def pod(name: str, *, ready: bool = True, started: str = LONG_AGO, cpu: str | None = "1") -> dict[str, Any]:
    requests = {} if cpu is None else {"cpu": cpu}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": started}
    return {
        "metadata": {"name": name, "creationTimestamp": started},
        "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
        "status": {"phase": "Running", "startTime": started, "conditions": [condition]},
    }


def used(**cores: float) -> dict[str, Any]:
    return {name: {"main": {"cpu": value, "memory": value * 2**30}} for name, value in cores.items()}


@pytest.mark.parametrize(
    ("cores", "wanted"),
    [
        ({"a": 0.5, "b": 0.5}, 2),
        ({"a": 0.54, "b": 0.54}, 2),
        ({"a": 0.6, "b": 0.6}, 3),
        ({"a": 1.0, "b": 1.0}, 4),
        ({"a": 0.25, "b": 0.25}, 1),
        ({"a": 0.0, "b": 0.0}, 0),
        ({"a": 1.0, "b": 0.0}, 2),
    ],
    ids=["at target", "within tolerance", "a little more", "double", "half", "nothing", "uneven"],
)
def test_replicas_follow_utilization(cores: dict[str, float], wanted: int) -> None:
    found = propose(CPU, 2, [pod("a"), pod("b")], used(**cores), NOW)
    assert found.replicas == wanted
    assert found.current["resource"]["current"]["averageUtilization"] == int(50 * sum(cores.values()))


def test_memory_by_its_average() -> None:
    found = propose(MEMORY, 2, [pod("a"), pod("b")], used(a=3, b=2), NOW)
    assert (found.replicas, found.current["resource"]["current"]) == (5, {"averageValue": str(5 * 2**29)})


def test_a_pod_that_starts_is_no_reason_for_more() -> None:
    """Its import of a framework would else start the next one, and so on."""
    young = pod("b", ready=False, started="2026-01-01T11:59:00Z")
    assert propose(CPU, 2, [pod("a"), young], used(a=0.5, b=4.0), NOW).replicas == 2
    assert propose(CPU, 2, [pod("a"), young], used(a=1.0, b=4.0), NOW).replicas == 2, "a + 0 of two"
    assert propose(CPU, 2, [pod("a"), young], used(a=2.0, b=4.0), NOW).replicas == 4


def test_what_is_not_measured_counts_against_scaling() -> None:
    pods = [pod("a"), pod("b")]
    assert propose(CPU, 2, pods, used(a=0.1), NOW).replicas == 2, "b may be busy"
    assert propose(CPU, 2, pods, used(a=0.9), NOW).replicas == 2, "b may be idle"
    with pytest.raises(NoMetric, match="no pod has been measured yet"):
        propose(CPU, 2, pods, {}, NOW)


def test_what_cannot_be_followed_says_why() -> None:
    with pytest.raises(NoMetric, match=r"missing request for cpu in container main of Pod a\. Set"):
        propose(CPU, 1, [pod("a", cpu=None)], used(a=1), NOW)
    with pytest.raises(NoMetric, match="this platform measures cpu and memory alone"):
        propose({"type": "External", "external": {}}, 1, [pod("a")], used(a=1), NOW)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_down_waits_for_the_highest_wish_of_five_minutes() -> None:
    """A pause between two bursts must not cost the replicas."""
    spec = {"minReplicas": 1, "maxReplicas": 10}
    found, memory = limit(spec, 4, 4, Memory(), NOW)
    assert found.replicas == 4
    found, memory = limit(spec, 4, 1, memory, after(60))
    assert (found.replicas, found.stabilized) == (4, True)
    found, memory = limit(spec, 4, 2, memory, after(310))
    assert found.replicas == 2, "the highest of what was asked for since"
    found, memory = limit(spec, 2, 0, memory, after(700))
    assert (found.replicas, found.reason) == (1, "TooFewReplicas")


def test_after_a_restart_nothing_is_taken_away_at_once() -> None:
    assert limit({"maxReplicas": 10}, 6, 1, Memory(), NOW)[0].replicas == 6


def test_up_goes_by_four_or_double_in_fifteen_seconds() -> None:
    spec = {"minReplicas": 1, "maxReplicas": 100}
    found, memory = limit(spec, 1, 50, Memory(), NOW)
    assert (found.replicas, found.reason) == (5, "ScaleUpLimit")
    found, memory = limit(spec, 5, 50, memory, after(5))
    assert found.replicas == 5, "the period's share is used up"
    found, memory = limit(spec, 5, 50, memory, after(16))
    assert found.replicas == 10
    found, memory = limit(spec, 10, 50, memory, after(32))
    assert found.replicas == 20


def test_policies_of_the_users_own() -> None:
    spec = {
        "minReplicas": 1,
        "maxReplicas": 100,
        "behavior": {
            "scaleUp": {"selectPolicy": "Disabled"},
            "scaleDown": {
                "stabilizationWindowSeconds": 0,
                "selectPolicy": "Min",
                "policies": [
                    {"type": "Pods", "value": 1, "periodSeconds": 60},
                    {"type": "Percent", "value": 50, "periodSeconds": 60},
                ],
            },
        },
    }
    assert limit(spec, 10, 50, Memory(), NOW)[0].replicas == 10
    found, memory = limit(spec, 10, 1, Memory(), NOW)
    assert (found.replicas, found.reason) == (9, "ScaleDownLimit")
    assert limit(spec, 9, 1, memory, after(30))[0].replicas == 9
    assert limit(spec, 9, 1, memory, after(61))[0].replicas == 8


def scaler(**spec: Any) -> dict[str, Any]:
    whole = {"minReplicas": 1, "maxReplicas": 5, "metrics": [CPU]} | spec
    return {"metadata": {"name": "web", "generation": 2}, "spec": whole}


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    found = next(one for one in status["conditions"] if one["type"] == kind)
    return found["status"], found["reason"]


def test_the_largest_wish_wins_and_the_status_tells() -> None:
    plan = decide(scaler(metrics=[CPU, MEMORY]), 1, [pod("a")], used(a=3), Memory(), NOW)
    assert plan.replicas == 5
    assert condition(plan.status, "ScalingLimited") == ("True", "TooManyReplicas")
    assert condition(plan.status, "ScalingActive") == ("True", "ValidMetricFound")
    assert plan.status["desiredReplicas"] == 5
    assert plan.status["lastScaleTime"] == "2026-01-01T12:00:00Z"
    assert [one["resource"]["name"] for one in plan.status["currentMetrics"]] == ["cpu", "memory"]


def test_without_a_metric_nothing_is_taken_away() -> None:
    plan = decide(scaler(metrics=[CPU, MEMORY]), 3, [pod("a", cpu=None)], used(a=0.1), Memory(), NOW)
    assert plan.replicas is None
    assert condition(plan.status, "ScalingActive") == ("False", "FailedGetResourceMetric")


def test_who_was_stopped_stays_stopped() -> None:
    """Zero replicas are a person's word."""
    plan = decide(scaler(), 0, [], {}, Memory(), NOW)
    assert plan.replicas is None
    assert condition(plan.status, "ScalingActive") == ("False", "ScalingDisabled")


def test_bounds_hold_without_any_metric() -> None:
    assert decide(scaler(minReplicas=2), 1, [], {}, Memory(), NOW).replicas == 2
    assert decide(scaler(), 9, [], {}, Memory(), NOW).replicas == 5
