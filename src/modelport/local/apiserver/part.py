"""Parts of objects whose shape nobody has checked: there or not, never an error."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.resource import Object


def part(obj: Any, *path: str) -> Object:
    """The map at a path; an empty one, that is nobody's, where there is none."""
    value: Any = obj
    for step in path:
        value = cast("Object", value).get(step) if isinstance(value, dict) else None
    return cast("Object", value) if isinstance(value, dict) else {}


def parts(obj: Any, *path: str) -> list[Object]:
    """The maps of the list at a path; none where there is no list."""
    *above, last = path
    value = part(obj, *above).get(last)
    if not isinstance(value, list):
        return []
    return [cast("Object", item) for item in cast("list[Any]", value) if isinstance(item, dict)]


def texts(obj: Any, *path: str) -> list[str]:
    """The texts of the list at a path."""
    *above, last = path
    value = part(obj, *above).get(last)
    return (
        [item for item in cast("list[Any]", value) if isinstance(item, str)]
        if isinstance(value, list)
        else []
    )
