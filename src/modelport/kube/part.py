"""Parts of objects that may be absent: what is not there is empty."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.resource import Object


def mapping(value: Any) -> Object:
    """A mapping, or an empty one."""
    return cast("Object", value) if isinstance(value, dict) else {}


def objects(value: Any) -> list[Object]:
    """A list's mappings, or none."""
    return (
        [cast("Object", one) for one in cast("list[Any]", value) if isinstance(one, dict)]
        if isinstance(value, list)
        else []
    )


def texts(value: Any) -> list[str]:
    """A list's items as texts, or none."""
    return [str(one) for one in cast("list[Any]", value)] if isinstance(value, list) else []
