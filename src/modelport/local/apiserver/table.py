"""`meta.k8s.io/v1` Table: what `kubectl get` prints, a row an object, by the columns of its kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from functools import partial as partial_of
from typing import Any, Literal, cast

import msgspec

from modelport.kube.meta import parse_time
from modelport.kube.resource import Object

IncludeObject = Literal["None", "Metadata", "Object"]
NAME_HELP = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may"
    " allow a client to request the generation of an appropriate name automatically."
)
AGE_HELP = "Time since the object was created."


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column after the name."""

    name: str
    cell: Callable[[Object, datetime], Any] | str
    """What it says of an object now; or a path as in `.status.url`, as CRDs write it."""
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    """Above 0 it is shown with `-o wide` only."""


AGE = Column(
    name="Age", cell=lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now), description=AGE_HELP
)


NAME = Column(
    name="Name", cell=lambda obj, now: obj["metadata"]["name"], format="name", description=NAME_HELP
)


def all_columns(columns: Sequence[Column]) -> list[Column]:
    """With the name in front, unless the kind has it elsewhere, and the age behind where it has no columns."""
    found = [*(columns or (AGE,))]
    return found if any(column.name == NAME.name for column in found) else [NAME, *found]


def definitions(columns: Sequence[Column]) -> list[Object]:
    """The columns' heads."""
    return [
        {
            "name": column.name,
            "type": "string" if column.type == "date" else column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in all_columns(columns)
    ]


def row(obj: Object, columns: Sequence[Column], include: IncludeObject, now: datetime) -> Object:
    """One object's row."""
    result: Object = {"cells": [cell(column, obj, now) for column in all_columns(columns)]}
    if include == "Object":
        result["object"] = obj
    elif include == "Metadata":
        result["object"] = partial(obj)
    return result


def table(
    rows: list[Object], columns: Sequence[Column], meta: Object, *, heads: bool = True, version: str = "v1"
) -> Object:
    """Rows under their heads. Only the first event of a watch needs the heads."""
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
        "columnDefinitions": definitions(columns) if heads else [],
        "rows": rows,
    }


def partial(obj: Object, version: str = "v1") -> Object:
    """PartialObjectMetadata: the object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def cell(column: Column, obj: Object, now: datetime) -> Any:
    """What a column says of an object."""
    if not isinstance(column.cell, str):
        return column.cell(obj, now)
    value = at(obj, column.cell)
    if column.type == "date":
        return age(value, now)
    if value is None:
        # kubectl shows nothing for a missing string, as for CRDs on a cluster.
        return "" if column.type == "string" else None
    if column.type == "string" and not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return value


_STEP = re.compile(
    r"\.?(?:"
    r"(?P<name>[A-Za-z_$][\w$/-]*(?:\\\.[\w$/-]+)*)"
    r"|\[(?P<index>-?\d+)\]"
    r"|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
    r"|\[\?\(@\.(?P<field>[\w.]+)\s*==\s*['\"](?P<wanted>[^'\"]*)['\"]\)\]"
    r"|(?P<all>\[\*\])"
    r")"
)


def at(obj: Any, path: str) -> Any:
    """The value at a JSONPath as CRDs' columns use it: `.a.b`, `[0]`, `['a.b/c']`, `[?(@.type=='Ready')]`, `[*]`.

    None where there is none. ValueError for a path that is not understood.
    """
    values: list[Any] = [obj]
    for step in _steps(path):
        values = step(values)
        if not values:
            return None
    return values[0]


_Step = Callable[[list[Any]], list[Any]]


@lru_cache(4096)
def _steps(path: str) -> tuple[_Step, ...]:
    """A path, read once: a list of a thousand objects asks for it eight thousand times."""
    found: list[_Step] = []
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise ValueError(f"column path {path!r}: not understood from {path[position:]!r} on")
        position = step.end()
        found.append(_step(step))
    return tuple(found)


def _step(step: re.Match[str]) -> _Step:
    name = step["name"] or step["quoted"]
    if name is not None:
        return partial_of(_below, name.replace("\\.", "."))
    if step["index"] is not None:
        return partial_of(_nth, int(step["index"]))
    if step["all"]:
        return _each
    return partial_of(_where, "." + step["field"], step["wanted"])


def _below(name: str, values: list[Any]) -> list[Any]:
    found = [cast("Object", value).get(name) for value in values if isinstance(value, dict)]
    return [value for value in found if value is not None]


def _nth(index: int, values: list[Any]) -> list[Any]:
    end = index + 1 or None
    return [
        item for value in values if isinstance(value, list) for item in cast("list[Any]", value)[index:end]
    ]


def _each(values: list[Any]) -> list[Any]:
    return [item for value in values if isinstance(value, list) for item in cast("list[Any]", value)]


def _where(path: str, wanted: str, values: list[Any]) -> list[Any]:
    return [item for item in _each(values) if str(at(item, path)) == wanted]


def age(created: str | None, now: datetime) -> str:
    """How long ago, as kubectl says it: 5s, 2m30s, 3h, 2d4h, 400d."""
    if not created:
        return "<unknown>"
    try:
        seconds = (now - parse_time(created)).total_seconds()
    except ValueError:
        return "<unknown>"
    return duration(seconds)


def duration(span_s: float) -> str:
    """A length of time in at most two units, as kubectl shortens it."""
    seconds = int(span_s)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 60 * 2:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 60 * 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
