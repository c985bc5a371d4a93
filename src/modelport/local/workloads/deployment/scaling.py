"""What a changed `spec.replicas` means while several ReplicaSets have pods. Pure."""

from __future__ import annotations

from modelport.local.workloads.deployment.budget import Budget
from modelport.local.workloads.deployment.sets import DESIRED, MAXIMUM, Set, Sets, active, total


def is_due(sets: Sets, allowed: Budget) -> bool:
    """Whether `spec.replicas` has changed since the ReplicaSets were last told."""
    return any(
        item.annotations.get(DESIRED, str(allowed.replicas)) != str(allowed.replicas)
        for item in active(sets.all)
    )


def scale(sets: Sets, allowed: Budget, rolling: bool, fallback: int) -> None:
    """Without a rollout the one ReplicaSet gets them all; within one each gets its share, the largest the rest.

    `fallback`: the Deployment's `status.replicas`, for ReplicaSets that do not say how many there were to be.
    """
    one = _active_or_latest(sets)
    if one is not None:
        one.replicas = allowed.replicas
    elif sets.new is not None and _is_saturated(sets.new, allowed):
        for item in sets.old:
            item.replicas = 0
    elif rolling:
        _share(sets, allowed, fallback)
    tell(active(sets.all), allowed)


def tell(sets: list[Set], allowed: Budget) -> None:
    """Writes into ReplicaSets how many there are to be: what `is_due` compares with."""
    for item in sets:
        item.annotations[DESIRED] = str(allowed.replicas)
        item.annotations[MAXIMUM] = str(allowed.most)


def _active_or_latest(sets: Sets) -> Set | None:
    running = active(sets.all)
    if not running:
        return sets.new or (sets.old[-1] if sets.old else None)
    return running[0] if len(running) == 1 else None


def _is_saturated(new: Set, allowed: Budget) -> bool:
    return (
        new.replicas == allowed.replicas
        and new.annotations.get(DESIRED) == str(allowed.replicas)
        and new.available == allowed.replicas
    )


def _share(sets: Sets, allowed: Budget, fallback: int) -> None:
    running = active(sets.all)
    to_add = (allowed.most if allowed.replicas > 0 else 0) - total(running)
    # The largest first; among equals the newest gains and the oldest loses.
    running.sort(key=lambda item: item.age, reverse=to_add > 0)
    running.sort(key=lambda item: item.replicas, reverse=True)
    added = 0
    for item in running:
        share = _fraction(item, allowed, fallback)
        left = to_add - added
        share = max(0, min(share, left)) if to_add > 0 else min(0, max(share, left))
        item.replicas += share
        added += share
    running[0].replicas = max(0, running[0].replicas + to_add - added)


def _fraction(item: Set, allowed: Budget, fallback: int) -> int:
    if allowed.replicas == 0:
        return -item.replicas
    text = item.annotations.get(MAXIMUM, "")
    before = int(text) if text.isdigit() and text != "0" else fallback
    if before <= 0:
        return 0
    # Rounded half up, as Go's math.Round does with what is positive.
    return (2 * item.replicas * allowed.most + before) // (2 * before) - item.replicas
