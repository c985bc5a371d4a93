"""What a controller wants to know of a pod. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from modelport.kube.condition import find_condition, is_true
from modelport.kube.meta import parse_time
from modelport.kube.resource import Object
from modelport.local.workloads.part import annotations_of, conditions_of, number, part

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def is_over(pod: Object) -> bool:
    """Whether all its containers have ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_terminating(pod: Object) -> bool:
    """Whether it has been asked to end."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_active(pod: Object) -> bool:
    """Whether it counts as a replica."""
    return not is_over(pod) and not is_terminating(pod)


def is_ready(pod: Object) -> bool:
    """Whether its Ready condition is True."""
    return is_true(pod, "Ready")


def available_at(pod: Object, min_ready_s: int) -> datetime | None:
    """When it has been ready for `min_ready_s` seconds, or None where it is not ready."""
    condition = find_condition(conditions_of(pod), "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    since = condition.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"]
    return parse_time(since) + timedelta(seconds=min_ready_s)


def is_available(pod: Object, min_ready_s: int, now: datetime) -> bool:
    """Whether it has been ready for long enough. Without a minimum clocks do not matter."""
    at = available_at(pod, min_ready_s)
    return at is not None and (min_ready_s <= 0 or at <= now)


def deletion_order(pod: Object) -> tuple[Any, ...]:
    """Sorts those first that are missed least, as Kubernetes' ReplicaSets do: unassigned, pending, not ready,
    cheap by annotation, ready for a shorter time, restarted more often, younger."""
    status = part(pod, "status")
    ready = is_ready(pod)
    since = available_at(pod, 0)
    restarts = sum(
        number(container.get("restartCount")) for container in status.get("containerStatuses") or ()
    )
    created = parse_time(pod["metadata"]["creationTimestamp"])
    return (
        bool(pod.get("spec", {}).get("nodeName")),
        _PHASES.get(status.get("phase") or "Pending", 1),
        ready,
        _cost(pod),
        -since.timestamp() if since else 0.0,
        -restarts,
        -created.timestamp(),
        pod["metadata"]["name"],
    )


def _cost(pod: Object) -> int:
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0
