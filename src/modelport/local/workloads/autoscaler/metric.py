"""From what pods use to how many there should be, by one metric. Pure; the rules are Kubernetes' replica calculator's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from modelport.kube.condition import find_condition
from modelport.kube.meta import parse_time
from modelport.kube.part import mapping, objects
from modelport.kube.quantity import Quantity
from modelport.kube.resource import Object
from modelport.local.workloads.part import conditions_of, part
from modelport.local.workloads.pod import is_ready

TOLERANCE = 0.1
"""A ratio that near to 1 is no reason to scale."""
STARTING = timedelta(minutes=5)
"""A pod so young counts for cpu only once it is ready: imports and warm-ups are no load."""

Usage = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Pod → container → resource → what it uses: cores, bytes."""


class NoMetric(Exception):
    """The metric says nothing. The message says why and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric says."""

    replicas: int
    name: str
    current: Object
    """For `status.currentMetrics`."""


def propose(metric: Object, replicas: int, pods: Sequence[Object], usage: Usage, now: datetime) -> Proposal:
    """As many as this metric asks for. Raises NoMetric."""
    kind = metric.get("type")
    field = {"Resource": "resource", "ContainerResource": "containerResource"}.get(str(kind))
    if field is None:
        raise NoMetric(
            "InvalidMetricSourceType",
            f"metric type {kind}: this platform measures cpu and memory alone. Use type Resource or "
            "ContainerResource.",
        )
    source = part(metric, field)
    name, container = str(source["name"]), str(source.get("container") or "")
    if name not in ("cpu", "memory"):
        raise NoMetric("FailedGetResourceMetric", f"resource {name}: only cpu and memory are measured here")
    target = part(source, "target")
    counted = _count(name, container, pods, usage, now)
    if not counted.used:
        raise NoMetric(
            "FailedGetResourceMetric",
            f"unable to get metrics for resource {name}: no pod has been measured yet ({len(pods)} selected)",
        )
    used = counted.used
    per_pod = sum(used.values()) / len(used)
    current: Object = {"averageValue": _quantity(name, per_pod)}
    if target.get("type") == "Utilization":
        wanted = float(target.get("averageUtilization") or 0)
        asked = {pod: _request(counted.pods[pod], name, container) for pod in counted.pods}
        utilization = 100 * sum(used.values()) / sum(asked[pod] for pod in used)
        current["averageUtilization"] = int(utilization)
        values = {pod: 100 * value / asked[pod] for pod, value in used.items()}
        ratio, goal = utilization / wanted, wanted
        weights = asked
    else:
        goal = float(Quantity.parse(target.get("averageValue") or "0").amount)
        values, ratio = dict(used), per_pod / goal if goal else 1.0
        weights = dict.fromkeys(counted.pods, 1.0)
    found = _replicas(replicas, values, weights, ratio, goal, counted)
    inner: Object = {"name": name, "current": current} | ({"container": container} if container else {})
    return Proposal(replicas=found, name=name, current={"type": kind, field: inner})


class _Counted(msgspec.Struct):
    """Pods by what is known of them."""

    pods: dict[str, Object]
    used: dict[str, float]
    """Of those that are ready and measured."""
    unready: list[str]
    missing: list[str]


def _count(name: str, container: str, pods: Sequence[Object], usage: Usage, now: datetime) -> _Counted:
    counted = _Counted({}, {}, [], [])
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp") or part(pod, "status").get("phase") == "Failed":
            continue
        key = pod["metadata"]["name"]
        counted.pods[key] = pod
        found = usage.get(key)
        values = [
            resources[name]
            for one, resources in (found or {}).items()
            if name in resources and container in ("", one)
        ]
        if part(pod, "status").get("phase") == "Pending" or (name == "cpu" and _is_starting(pod, now)):
            counted.unready.append(key)
        elif not values:
            counted.missing.append(key)
        else:
            counted.used[key] = sum(values)
    return counted


def _is_starting(pod: Object, now: datetime) -> bool:
    """Whether what it uses is its start's: not ready, and young or never ready before."""
    condition = find_condition(conditions_of(pod), "Ready")
    if condition is None:
        return True
    began = part(pod, "status").get("startTime") or pod["metadata"]["creationTimestamp"]
    return now - parse_time(began) < STARTING and not is_ready(pod)


def _request(pod: Object, name: str, container: str) -> float:
    total = 0.0
    for one in objects(pod["spec"].get("containers")):
        if container not in ("", one["name"]):
            continue
        asked = mapping(mapping(one.get("resources")).get("requests")).get(name)
        if asked is None:
            raise NoMetric(
                "FailedGetResourceMetric",
                f"missing request for {name} in container {one['name']} of Pod {pod['metadata']['name']}. Set "
                f"resources.requests.{name}, or use a target of type AverageValue.",
            )
        total += float(Quantity.parse(asked).amount)
    if not total:
        raise NoMetric("FailedGetResourceMetric", f"the pods request no {name}")
    return total


def _replicas(
    replicas: int,
    values: dict[str, float],
    weights: Mapping[str, float],
    ratio: float,
    goal: float,
    counted: _Counted,
) -> int:
    up = ratio > 1
    if not counted.missing and not (counted.unready and up):
        return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(round(ratio * len(values), 9))
    # What is not known counts against scaling: as nothing on the way up, as just enough on the way down.
    guessed = dict(values)
    guessed |= dict.fromkeys(counted.missing, 0.0 if up else goal)
    if up:
        guessed |= dict.fromkeys(counted.unready, 0.0)
    weight = sum(weights[pod] for pod in guessed)
    again = (
        sum(value * weights[pod] for pod, value in guessed.items()) / weight / goal if weight and goal else 1
    )
    if abs(again - 1) <= TOLERANCE or (again > 1) != up:
        return replicas
    found = math.ceil(round(again * len(guessed), 9))
    return replicas if (found < replicas) == up else found


def _quantity(name: str, amount: float) -> str:
    return f"{math.ceil(amount * 1000)}m" if name == "cpu" else str(math.ceil(amount))
