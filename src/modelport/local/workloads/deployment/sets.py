"""A Deployment's ReplicaSets as one step of a rollout sees and changes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from modelport.kube.resource import Object
from modelport.local.workloads.part import annotations_of, number, part

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


class Set(msgspec.Struct):
    """One ReplicaSet: as it is, and as this step wants it."""

    object: Object
    replicas: int
    """`spec.replicas`, wanted."""
    available: int
    """Available pods as they are seen now. Its status, which Kubernetes goes by, is older news: by that, a pod that
    has just become available would go as one that is not."""
    annotations: dict[str, str]
    """Wanted."""
    min_ready_s: int = 0
    """`spec.minReadySeconds`, wanted."""
    pods_left: bool = False
    """Whether any of its pods has not ended, the terminating ones included."""

    @classmethod
    def of(cls, item: Object, available: int = 0, pods_left: bool = False) -> Set:
        """As it is."""
        spec: Object = item["spec"]
        return cls(
            item,
            number(spec.get("replicas"), 1),
            available,
            dict(annotations_of(item)),
            number(spec.get("minReadySeconds")),
            pods_left,
        )

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """`metadata.uid`."""
        return str(self.object["metadata"]["uid"])

    @property
    def revision(self) -> int:
        """The rollout's number; 0 where it has none."""
        text = self.annotations.get(REVISION, "")
        return int(text) if text.isdigit() else 0

    @property
    def age(self) -> tuple[str, str]:
        """Sorts oldest first."""
        return self.object["metadata"].get("creationTimestamp") or "", self.name

    def counted(self, field: str) -> int:
        """A number of its status."""
        return number(part(self.object, "status").get(field))

    @property
    def existing(self) -> int:
        """Pods that exist or will: a scale-down that its loop has not carried out yet frees no room."""
        return max(self.replicas, self.counted("replicas"))

    @property
    def changed(self) -> bool:
        """Whether this step wants it otherwise than it is."""
        is_now = Set.of(self.object)
        return (self.replicas, self.annotations, self.min_ready_s) != (
            is_now.replicas,
            is_now.annotations,
            is_now.min_ready_s,
        )

    def wanted(self) -> Object:
        """The object to write."""
        return self.object | {
            "metadata": self.object["metadata"] | {"annotations": self.annotations},
            "spec": self.object["spec"] | {"replicas": self.replicas, "minReadySeconds": self.min_ready_s},
        }


class Sets(msgspec.Struct):
    """All of them."""

    new: Set | None
    """The one of the template as it is now."""
    old: list[Set]
    """The others, oldest first."""

    @property
    def all(self) -> list[Set]:
        """Old ones first."""
        return [*self.old, *([self.new] if self.new else [])]


def total(sets: Iterable[Set]) -> int:
    """Replicas that are asked for."""
    return sum(item.replicas for item in sets)


def active(sets: Sequence[Set]) -> list[Set]:
    """Those that should have pods."""
    return [item for item in sets if item.replicas > 0]


def count(sets: Iterable[Set], field: str) -> int:
    """A number of their status, summed."""
    return sum(item.counted(field) for item in sets)
