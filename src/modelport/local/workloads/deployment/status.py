"""What a Deployment says of itself, in Kubernetes' words. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from modelport.kube.condition import Status, find_condition, remove_condition, set_condition
from modelport.kube.meta import parse_time, timestamp
from modelport.kube.resource import Object
from modelport.local.workloads.deployment.budget import Budget
from modelport.local.workloads.deployment.sets import Sets, count, total
from modelport.local.workloads.part import conditions_of, number, part

DEFAULT_DEADLINE_S = 600
NO_DEADLINE_S = 2**31 - 1
COMPLETE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"


def deadline_s(deployment: Object) -> int | None:
    """`progressDeadlineSeconds`, or None where it is the number that means never."""
    seconds = number(deployment["spec"].get("progressDeadlineSeconds"), DEFAULT_DEADLINE_S)
    return None if seconds == NO_DEADLINE_S else seconds


def counts(
    deployment: Object, sets: Sets, allowed: Budget, conditions: list[Object], now: datetime
) -> Object:
    """The numbers, and whether there are enough."""
    available = count(sets.all, "availableReplicas")
    if available >= allowed.fewest_available:
        state: tuple[Status, str, str] = (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    else:
        state = (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    numbers: Object = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": count(sets.all, "replicas"),
        "updatedReplicas": sets.new.counted("replicas") if sets.new else 0,
        "readyReplicas": count(sets.all, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(sets.all) - available),
        "collisionCount": number(part(deployment, "status").get("collisionCount")),
    }
    status: Object = {key: number for key, number in numbers.items() if number}
    return status | {"conditions": put(conditions, "Available", *state, now)}


def is_complete(status: Object, replicas: int) -> bool:
    """Whether all pods are of the new template and available."""
    return all(
        number(status.get(field)) == replicas
        for field in ("updatedReplicas", "replicas", "availableReplicas")
    )


def with_progress(
    deployment: Object, status: Object, sets: Sets, replicas: int, now: datetime
) -> tuple[Object, float | None]:
    """`status` with the condition Progressing, and seconds until the deadline may have passed."""
    limit = deadline_s(deployment)
    conditions: list[Object] = status["conditions"]
    if limit is None:
        return status | {"conditions": remove_condition(conditions, "Progressing")}, None
    current = find_condition(conditions, "Progressing")
    was_complete = (
        number(status.get("replicas")) == number(status.get("updatedReplicas"))
        and current is not None
        and current.get("reason") == COMPLETE
    )
    who = f'ReplicaSet "{sets.new.name}"' if sets.new else f'Deployment "{deployment["metadata"]["name"]}"'
    if not was_complete:
        if is_complete(status, replicas):
            conditions = put(
                conditions, "Progressing", "True", COMPLETE, f"{who} has successfully progressed.", now
            )
        elif _has_progressed(part(deployment, "status"), status):
            conditions = put(
                conditions,
                "Progressing",
                "True",
                "ReplicaSetUpdated",
                f"{who} is progressing.",
                now,
                touch=True,
            )
        elif _is_over_time(current, limit, now):
            conditions = put(
                conditions, "Progressing", "False", TIMED_OUT, f"{who} has timed out progressing.", now
            )
    return status | {"conditions": conditions}, _until_deadline(conditions, limit, now)


def with_failure(status: Object, sets: Sets) -> Object:
    """`status` with the new ReplicaSet's ReplicaFailure, or an old one's."""
    conditions = remove_condition(status["conditions"], "ReplicaFailure")
    ordered = [*([sets.new] if sets.new else []), *sets.old]
    for item in ordered:
        found = find_condition(conditions_of(item.object), "ReplicaFailure")
        if found is not None:
            at = found.get("lastTransitionTime")
            return status | {"conditions": [*conditions, found | {"lastUpdateTime": at}]}
    return status | {"conditions": conditions}


def put(
    conditions: list[Object],
    type: str,  # noqa: A002 - the field's word
    status: Status,
    reason: str,
    message: str,
    now: datetime,
    *,
    touch: bool = False,
) -> list[Object]:
    """With that condition. As Kubernetes does it, the same status and reason are no news, so that
    `lastUpdateTime` says since when there was none; `touch` makes them news."""
    current = find_condition(conditions, type)
    same = current is not None and (current.get("status"), current.get("reason")) == (status, reason)
    if same and not touch:
        return conditions
    changed = set_condition(conditions, type, status, reason, message, now)
    return [
        item | {"lastUpdateTime": timestamp(now)} if item.get("type") == type else item for item in changed
    ]


def _has_progressed(old: Object, new: Object) -> bool:
    def outdated(status: Object) -> int:
        return number(status.get("replicas")) - number(status.get("updatedReplicas"))

    return outdated(new) < outdated(old) or any(
        number(new.get(field)) > number(old.get(field))
        for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )


def _is_over_time(current: Object | None, limit_s: int, now: datetime) -> bool:
    if current is None or current.get("reason") == COMPLETE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    return _since(current) + timedelta(seconds=limit_s) < now


def _until_deadline(conditions: list[Object], limit_s: int, now: datetime) -> float | None:
    current = find_condition(conditions, "Progressing")
    if current is None or current.get("reason") in (COMPLETE, TIMED_OUT):
        return None
    left = (_since(current) + timedelta(seconds=limit_s) - now).total_seconds()
    return max(left, 0.0) + 1.0  # times are whole seconds


def _since(condition: Object) -> datetime:
    return parse_time(condition.get("lastUpdateTime") or condition["lastTransitionTime"])
