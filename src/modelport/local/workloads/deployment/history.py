"""Revisions: numbers that grow with every rollout, and how many old ReplicaSets are kept to go back to. Pure."""

from __future__ import annotations

from modelport.kube.resource import Object
from modelport.local.workloads.deployment.sets import REVISION, REVISION_HISTORY, Set, Sets
from modelport.local.workloads.part import number

DEFAULT_HISTORY = 10


def next_revision(sets: Sets) -> int:
    """The number of a rollout that begins now."""
    return max((item.revision for item in sets.old), default=0) + 1


def renumber(new: Set, revision: int) -> bool:
    """Gives a ReplicaSet that becomes the new one the rollout's number. True where that is news: a way back."""
    if new.revision >= revision:
        return False
    if new.annotations.get(REVISION):
        past = [text for text in new.annotations.get(REVISION_HISTORY, "").split(",") if text]
        new.annotations[REVISION_HISTORY] = ",".join([*past, new.annotations[REVISION]])
    new.annotations[REVISION] = str(revision)
    return True


def expendable(deployment: Object, old: list[Set]) -> list[Set]:
    """Old ReplicaSets without pods beyond `revisionHistoryLimit`, the oldest first."""
    limit = number(deployment["spec"].get("revisionHistoryLimit"), DEFAULT_HISTORY)
    kept = [item for item in old if not item.object["metadata"].get("deletionTimestamp")]
    kept.sort(key=lambda item: (item.revision, item.age))
    return [item for item in kept[: max(0, len(kept) - limit)] if _is_empty(item)]


def _is_empty(item: Set) -> bool:
    seen = item.counted("observedGeneration") >= number(item.object["metadata"].get("generation"))
    return item.replicas == 0 and item.counted("replicas") == 0 and seen and not item.changed
