"""What differs from kind to kind when objects are written: a `Strategy`, with Kubernetes' usual rules as default.

The strategies of Kubernetes' own kinds are in `strategies/`, a file a family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from modelport.kube.errors import Cause
from modelport.kube.name import check_subdomain
from modelport.kube.resource import Object, Resource


class Related(Protocol):
    """What defaulting and validation may look up. Plain reads; nothing waits."""

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object."""
        ...

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects, or those of a namespace."""
        ...

    def texts(self, resource: Resource, *path: str) -> set[str]:
        """What all objects have at a path of field names."""
        ...


class Strategy:
    """Rules of one kind. Methods may change `obj`, which is the writer's own copy; `old` is read-only."""

    generation = True
    """Whether `metadata.generation` counts changes of the spec."""
    returns_deleted = False
    """Whether a deletion answers with the object itself, as clients' models of some kinds expect, or with a Status."""
    told_with_status: tuple[str, ...] = ("annotations", "finalizers", "labels")
    """Metadata that a write of `status` may change."""
    update_creates = False
    """Whether PUT creates what is not there, as for Leases and Events on a cluster."""

    @property
    def check_name(self) -> Callable[[str], list[str]]:
        """The rule for `metadata.name`: what is wrong with it."""
        return check_subdomain

    selectable: frozenset[str] = frozenset()
    """Fields that field selectors may name, beside `metadata.name` and `metadata.namespace`."""

    absent: Mapping[str, str] = {}
    """What of them an object does not have counts as, where that is not the empty text: Go's zero value."""

    def default(self, obj: Object) -> None:
        """Fills in defaults, at every write."""

    def create(self, obj: Object, now: datetime) -> None:
        """Sets what the server alone sets in a new object."""

    def update(self, obj: Object, old: Object) -> None:
        """Puts back what a write of the main resource may not touch, beside `status`."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """What is wrong with an object beyond its schema."""
        del obj, old
        return []

    def grace_s(self, obj: Object, asked: int | None) -> int:
        """How long the object may go on after a deletion; 0: it goes at once."""
        del obj, asked
        return 0

    def deleting(self, obj: Object) -> None:
        """Marks an object that is now going away, beside its metadata."""

    def check_deletion(self, name: str) -> None:
        """ApiError 403 for an object that must stay."""
        del name

    def reserve(self, obj: Object, related: Related) -> Callable[[], None]:
        """Gives a new object what only one may have. What is returned is called once it is written, or is not."""
        del obj, related
        return _nothing


def _nothing() -> None:
    pass
