"""One HorizontalPodAutoscaler: what its target's replicas and its own status are to be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from modelport.kube.condition import set_condition
from modelport.kube.meta import timestamp
from modelport.kube.part import objects
from modelport.kube.resource import Object
from modelport.local.workloads.autoscaler.behavior import Memory, limit
from modelport.local.workloads.autoscaler.metric import NoMetric, Proposal, Usage, propose
from modelport.local.workloads.part import conditions_of, part

DEFAULT_METRICS: Sequence[Object] = (
    {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    },
)


class Plan(msgspec.Struct, kw_only=True):
    """What to write."""

    replicas: int | None
    """None: leave them."""
    status: Object
    message: str
    """Why they change."""
    memory: Memory


def decide(
    scaler: Object, replicas: int, pods: Sequence[Object], usage: Usage, memory: Memory, now: datetime
) -> Plan:
    """From the target's present number of replicas, its pods, and what they use."""
    spec = scaler["spec"]
    conditions = set_condition(
        conditions_of(scaler), "AbleToScale", "True", "SucceededGetScale", "the target's scale is known", now
    )
    if replicas == 0 and spec.get("minReplicas", 1) > 0:
        words = "scaling is disabled since the replica count of the target is zero"
        conditions = set_condition(conditions, "ScalingActive", "False", "ScalingDisabled", words, now)
        return Plan(
            replicas=None, status=_status(scaler, replicas, 0, [], conditions), message="", memory=memory
        )
    proposals, failures = _proposals(spec, replicas, pods, usage, now)
    wanted = max((one.replicas for one in proposals), default=replicas)
    if failures and (not proposals or wanted < replicas):
        # A metric that is not known might ask for more: never down without it.
        conditions = set_condition(
            conditions, "ScalingActive", "False", failures[0].reason, str(failures[0]), now
        )
        wanted_is_known = False
    else:
        best = max(proposals, key=lambda one: one.replicas)
        words = f"the HPA was able to successfully calculate a replica count from {best.name}"
        conditions = set_condition(conditions, "ScalingActive", "True", "ValidMetricFound", words, now)
        wanted_is_known = True
    if not wanted_is_known:
        bounded = max(spec.get("minReplicas", 1), min(replicas, spec["maxReplicas"]))
        status = _status(scaler, replicas, bounded, proposals, conditions)
        return Plan(
            replicas=bounded if bounded != replicas else None,
            status=status,
            message="the number of replicas is outside the bounds",
            memory=memory,
        )
    limited, memory = limit(spec, replicas, wanted, memory, now)
    conditions = set_condition(
        conditions,
        "ScalingLimited",
        "True" if limited.reason else "False",
        limited.reason or "DesiredWithinRange",
        f"{wanted} replicas are asked for, {limited.replicas} allowed"
        if limited.reason
        else "the desired count is within the acceptable range",
        now,
    )
    if limited.stabilized:
        words = (
            "recent recommendations were higher than current one, applying the highest recent recommendation"
        )
        conditions = set_condition(conditions, "AbleToScale", "True", "ScaleDownStabilized", words, now)
    status = _status(scaler, replicas, limited.replicas, proposals, conditions)
    change = limited.replicas != replicas
    if change:
        status["lastScaleTime"] = timestamp(now)
    direction = "above" if limited.replicas > replicas else "below"
    names = ", ".join(one.name for one in proposals)
    return Plan(
        replicas=limited.replicas if change else None,
        status=status,
        message=f"New size: {limited.replicas}; reason: {names} {direction} target",
        memory=memory,
    )


def _proposals(
    spec: Object, replicas: int, pods: Sequence[Object], usage: Usage, now: datetime
) -> tuple[list[Proposal], list[NoMetric]]:
    proposals: list[Proposal] = []
    failures: list[NoMetric] = []
    for metric in objects(spec.get("metrics")) or DEFAULT_METRICS:
        try:
            proposals.append(propose(metric, replicas, pods, usage, now))
        except NoMetric as failure:
            failures.append(failure)
    return proposals, failures


def unable(scaler: Object, reason: str, message: str, now: datetime) -> Object:
    """The status where the target itself is not there, or cannot be scaled."""
    conditions = set_condition(conditions_of(scaler), "AbleToScale", "False", reason, message, now)
    return _status(scaler, 0, 0, [], conditions)


def _status(
    scaler: Object, replicas: int, wanted: int, proposals: Sequence[Proposal], conditions: list[Object]
) -> Object:
    status: Object = {
        "observedGeneration": scaler["metadata"].get("generation", 1),
        "currentReplicas": replicas,
        "desiredReplicas": wanted,
        "currentMetrics": [one.current for one in proposals],
        "conditions": conditions,
    }
    last = part(scaler, "status").get("lastScaleTime")
    return status | ({"lastScaleTime": last} if last else {})
