"""One step of a Deployment: what to write now, given all that is seen. Pure; deciding again from the same gives the
same, so a step that was interrupted anywhere is simply decided again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from modelport.kube.condition import find_condition
from modelport.kube.resource import Object
from modelport.local.workloads.deployment.budget import Budget, budget, is_rolling
from modelport.local.workloads.deployment.history import expendable, next_revision, renumber
from modelport.local.workloads.deployment.rolling import recreate, roll, room
from modelport.local.workloads.deployment.scaling import is_due, scale, tell
from modelport.local.workloads.deployment.sets import REVISION, Set, Sets, active
from modelport.local.workloads.deployment.status import (
    counts,
    deadline_s,
    is_complete,
    put,
    with_failure,
    with_progress,
)
from modelport.local.workloads.deployment.template import copied_annotations, find_new, new_replica_set
from modelport.local.workloads.part import annotations_of, conditions_of, number, part
from modelport.local.workloads.pod import is_active, is_available, is_over


class Plan(msgspec.Struct):
    """What to write."""

    create: Object | None = None
    """The ReplicaSet of a new template. Everything else waits for it."""
    write: list[Object] = []
    """ReplicaSets with other replicas or annotations."""
    delete: list[Object] = []
    """ReplicaSets of revisions that are no longer kept."""
    revision: str | None = None
    """The Deployment's revision annotation, where it is another."""
    status: Object = {}
    again_s: float | None = None


def decide(
    deployment: Object, replica_sets: Sequence[Object], pods: Mapping[str, Sequence[Object]], now: datetime
) -> Plan:
    """`replica_sets`: those that the Deployment manages; `pods`: all pods of each, by its uid."""
    allowed, rolling = budget(deployment), is_rolling(deployment)
    sets = _sort(deployment, replica_sets, pods, now)
    paused = bool(deployment["spec"].get("paused"))
    conditions = _paused(deployment, paused, now)
    plan = Plan()
    if deployment["metadata"].get("deletionTimestamp"):
        plan.status = counts(deployment, sets, allowed, conditions, now)
        return plan
    conditions = _renumber(deployment, sets, conditions, now)
    old_replicas = number(part(deployment, "status").get("replicas"))
    if paused or is_due(sets, allowed):
        scale(sets, allowed, rolling, old_replicas)
    elif rolling:
        if sets.new is None:
            return _create(deployment, sets, allowed, room(sets, 0, allowed), conditions, now)
        roll(sets, sets.new, allowed)
    elif recreate(sets, allowed) and sets.new is None:
        return _create(deployment, sets, allowed, allowed.replicas, conditions, now)
    tell([item for item in active(sets.all) if item.changed], allowed)
    plan.write = [item.wanted() for item in sets.all if item.changed]
    _conclude(plan, deployment, sets, allowed, conditions, now, paused=paused)
    return plan


def _sort(
    deployment: Object, replica_sets: Sequence[Object], pods: Mapping[str, Sequence[Object]], now: datetime
) -> Sets:
    min_ready_s = number(deployment["spec"].get("minReadySeconds"))
    new = find_new(deployment, replica_sets)

    def look(item: Object) -> Set:
        its: Sequence[Object] = pods.get(item["metadata"]["uid"], ())
        available = sum(is_active(pod) and is_available(pod, min_ready_s, now) for pod in its)
        return Set.of(item, available, any(not is_over(pod) for pod in its))

    old = [look(item) for item in replica_sets if item is not new]
    return Sets(look(new) if new else None, sorted(old, key=lambda item: item.age))


def _renumber(deployment: Object, sets: Sets, conditions: list[Object], now: datetime) -> list[Object]:
    """Keeps revision and annotations of the new ReplicaSet true, and says where it was found and not made."""
    if sets.new is None:
        return conditions
    back = renumber(sets.new, next_revision(sets))
    sets.new.annotations |= copied_annotations(deployment)
    sets.new.min_ready_s = number(deployment["spec"].get("minReadySeconds"))
    if deadline_s(deployment) is not None and (back or find_condition(conditions, "Progressing") is None):
        return put(
            conditions,
            "Progressing",
            "True",
            "FoundNewReplicaSet",
            f'Found new replica set "{sets.new.name}"',
            now,
            touch=back,
        )
    return conditions


def _create(
    deployment: Object, sets: Sets, allowed: Budget, replicas: int, conditions: list[Object], now: datetime
) -> Plan:
    revision = next_revision(sets)
    created = new_replica_set(deployment, replicas, revision, allowed.most)
    if deadline_s(deployment) is not None:
        message = f'Created new replica set "{created["metadata"]["name"]}"'
        conditions = put(conditions, "Progressing", "True", "NewReplicaSetCreated", message, now, touch=True)
    plan = Plan(create=created, again_s=0.0)
    plan.status = with_failure(counts(deployment, sets, allowed, conditions, now), sets)
    _set_revision(plan, deployment, str(revision))
    return plan


def _conclude(
    plan: Plan,
    deployment: Object,
    sets: Sets,
    allowed: Budget,
    conditions: list[Object],
    now: datetime,
    *,
    paused: bool,
) -> None:
    status = counts(deployment, sets, allowed, conditions, now)
    if not paused:
        status, plan.again_s = with_progress(deployment, status, sets, allowed.replicas, now)
    if (paused or is_complete(status, allowed.replicas)) and not plan.write:
        plan.delete = [item.object for item in expendable(deployment, sets.old)]
    plan.status = with_failure(status, sets)
    if sets.new is not None:
        _set_revision(plan, deployment, sets.new.annotations.get(REVISION, ""))


def _set_revision(plan: Plan, deployment: Object, revision: str) -> None:
    known = annotations_of(deployment).get(REVISION)
    if revision and revision != known:
        plan.revision = revision


def _paused(deployment: Object, paused: bool, now: datetime) -> list[Object]:
    """Says that a rollout stands still, so that the deadline does not run, and that it goes on."""
    conditions = conditions_of(deployment)
    if deadline_s(deployment) is None:
        return conditions
    current = find_condition(conditions, "Progressing")
    reason = current.get("reason") if current else None
    if reason == "ProgressDeadlineExceeded":
        return conditions
    if paused and reason != "DeploymentPaused":
        return put(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if not paused and reason == "DeploymentPaused":
        return put(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return conditions
