"""Rules about numbers of replicas, concurrency, and what scaling goes by."""

from __future__ import annotations

from modelport.kinds.inferenceservice.spec import Component
from modelport.kinds.problem import Problem


def check(component: Component, where: str, mode: str, autoscaler: str) -> list[Problem]:
    """What is wrong with a component's numbers."""
    problems: list[Problem] = []
    least, most = component.min_replicas, component.max_replicas
    for name, value in (("minReplicas", least), ("maxReplicas", most)):
        if value is not None and value < 0:
            problems.append(Problem(f"{where}.{name}", f"{name} cannot be less than 0, got {value}."))
    if most and most > 0 and least is not None and least > most:
        problems.append(
            Problem(
                f"{where}.minReplicas",
                f"must be at most maxReplicas ({most}), got {least}.",
                "Lower it or raise maxReplicas.",
            )
        )
    if component.container_concurrency is not None and component.container_concurrency < 0:
        problems.append(
            Problem(
                f"{where}.containerConcurrency",
                f"parallelism cannot be less than 0, got {component.container_concurrency}.",
            )
        )
    if component.timeout is not None and component.timeout < 0:
        problems.append(Problem(f"{where}.timeout", f"must be at least 0 seconds, got {component.timeout}."))
    if component.canary_traffic_percent is not None and not 0 <= component.canary_traffic_percent <= 100:
        problems.append(
            Problem(
                f"{where}.canaryTrafficPercent", f"must be 0 to 100, got {component.canary_traffic_percent}."
            )
        )
    return problems + _scaling(component, where, mode, autoscaler)


def _scaling(component: Component, where: str, mode: str, autoscaler: str) -> list[Problem]:
    metric, target = component.scale_metric, component.scale_target
    if mode == "Knative":
        problems: list[Problem] = []
        if metric is not None and metric not in ("concurrency", "rps"):
            problems.append(
                Problem(f"{where}.scaleMetric", f"must be concurrency or rps in Knative mode, got {metric}.")
            )
        if metric == "rps" and target is not None and target < 1:
            problems.append(Problem(f"{where}.scaleTarget", f"must be at least 1 for rps, got {target}."))
        if component.deployment_strategy is not None:
            problems.append(
                Problem(
                    f"{where}.deploymentStrategy",
                    "is not allowed in Knative mode",
                    reason="FieldValueForbidden",
                )
            )
        return problems
    if autoscaler == "keda" and metric is not None:
        return [
            Problem(
                f"{where}.scaleMetric", "ScaleMetric is not supported for KEDA", "Use autoScaling.metrics."
            )
        ]
    if autoscaler == "hpa":
        if metric in ("concurrency", "rps") and mode == "Standard":
            return []  # our own autoscaler's, on one machine and on a cluster
        if metric in (None, "cpu") and target is not None and not 1 <= target <= 100:
            return [
                Problem(
                    f"{where}.scaleTarget",
                    f"the target utilization percentage should be a [1-100] integer, got {target}.",
                )
            ]
    return []
