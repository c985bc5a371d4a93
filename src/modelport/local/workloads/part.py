"""Parts of objects that may be absent."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.resource import Object


def part(item: Object, *path: str) -> Object:
    """The mapping at that path; an empty one where there is none."""
    found: Any = item
    for step in path:
        found = cast("Object", found).get(step) or {}
    return cast("Object", found)


def labels_of(item: Object) -> dict[str, str]:
    """`metadata.labels`."""
    return part(item, "metadata", "labels")


def annotations_of(item: Object) -> dict[str, str]:
    """`metadata.annotations`."""
    return part(item, "metadata", "annotations")


def conditions_of(item: Object) -> list[Object]:
    """`status.conditions`."""
    return list(part(item, "status").get("conditions") or [])


def number(found: Any, default: int = 0) -> int:
    """A number that may be absent."""
    return default if found is None else int(found)


def namespace_of(item: Object) -> str:
    """`metadata.namespace`; empty for what has none."""
    return str(item["metadata"].get("namespace") or "")
