"""Parts of objects at a path of field names: what is not there is empty."""

from __future__ import annotations

from typing import Any

from modelport.kube import part as _part
from modelport.kube.resource import Object


def part(obj: Any, *path: str) -> Object:
    """The map at a path; an empty one, that is nobody's, where there is none."""
    value = _part.mapping(obj)
    for step in path:
        value = _part.mapping(value.get(step))
    return value


def parts(obj: Any, *path: str) -> list[Object]:
    """The maps of the list at a path; none where there is no list."""
    *above, last = path
    return _part.objects(part(obj, *above).get(last))


def texts(obj: Any, *path: str) -> list[str]:
    """The texts of the list at a path."""
    *above, last = path
    return _part.texts(part(obj, *above).get(last))
