"""JSON values."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.resource import Object


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal. To Python `True == 1`; to JSON they differ. 1 and 1.0 are one number."""
    if left is right:
        return True
    if isinstance(left, dict):
        if not isinstance(right, dict):
            return False
        one, other = cast("Object", left), cast("Object", right)
        return len(one) == len(other) and all(
            name in other and same(value, other[name]) for name, value in one.items()
        )
    if isinstance(left, list):
        if not isinstance(right, list):
            return False
        items, others = cast("list[Any]", left), cast("list[Any]", right)
        return len(items) == len(others) and all(map(same, items, others))
    return isinstance(left, bool) == isinstance(right, bool) and left == right
