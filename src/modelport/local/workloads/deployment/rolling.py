"""One step from the old pods to the new ones. Pure: changes the replicas that are wanted of the `Sets` it is given.

What must hold at every moment: at most `budget.most` pods, and at least `budget.fewest_available` available ones,
as long as pods do not fail by themselves. Where the new ones never become available, nothing available goes.
"""

from __future__ import annotations

from collections.abc import Callable

from modelport.local.workloads.deployment.budget import Budget
from modelport.local.workloads.deployment.sets import Set, Sets, active, total


def roll(sets: Sets, new: Set, allowed: Budget) -> None:
    """RollingUpdate: up where there is room, and down where enough are available without what has just come."""
    new.replicas = room(sets, new.replicas, allowed)
    # New pods that are not available yet are counted on by nobody.
    new_unavailable = max(0, new.replicas - new.available)
    spare = total(sets.all) - allowed.fewest_available - new_unavailable
    spare -= _drop(sets.old, spare, lambda item: item.replicas - item.available)
    # Those that are left are available, all of them: else the spare would have been used up.
    _drop(sets.old, spare, lambda item: item.replicas)


def recreate(sets: Sets, allowed: Budget) -> bool:
    """Recreate: the old ones first to nothing. True once all of their pods have ended and new ones may come."""
    running = active(sets.old)
    for item in running:
        item.replicas = 0
    if running or any(item.pods_left for item in sets.old):
        return False
    if sets.new is not None:
        sets.new.replicas = allowed.replicas
    return True


def room(sets: Sets, new_replicas: int, allowed: Budget) -> int:
    """How many replicas the new ReplicaSet may have."""
    if new_replicas >= allowed.replicas:
        return allowed.replicas
    existing = sum(item.existing for item in sets.all)
    return new_replicas + max(0, min(allowed.most - existing, allowed.replicas - new_replicas))


def _drop(old: list[Set], most: int, can_go: Callable[[Set], int]) -> int:
    """Takes replicas from the oldest ReplicaSets first. Returns how many."""
    dropped = 0
    for item in old:
        less = min(most - dropped, can_go(item))
        if less > 0:
            item.replicas -= less
            dropped += less
    return dropped
