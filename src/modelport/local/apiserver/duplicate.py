"""Keys that a body has twice. Parsers take the last one in silence; who wrote both meant something else."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

LARGEST_YAML = 256 << 10
"""YAML is read slowly: larger bodies are not looked into a second time."""


class _Pairs(list[tuple[str, Any]]):
    """A map as it was written."""


class Written(NamedTuple):
    """What a body has twice, and where."""

    twice: list[str]
    """Paths of fields that are there twice, as in `spec.containers[0].image`."""
    order: list[str]
    """Paths of all fields as they were written, where some are there twice."""
    line: int = 0
    """Of the first that is there a second time, counted from 1; 0 where that is not known."""


def duplicates(content: bytes) -> Written:
    """What is there twice. A body that is no text has nothing."""
    try:
        written: Any = json.loads(content, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return _in_yaml(content)
    found, order = list[str](), list[str]()
    try:
        _look(written, "", found, order)
    except RecursionError:
        return NOTHING  # refused elsewhere, for its depth
    return Written(found, order) if found else NOTHING


def _look(value: Any, path: str, found: list[str], order: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            at = f"{path}.{key}" if path else key
            order.append(at)
            if key in seen:
                found.append(at)
            seen.add(key)
            _look(child, at, found, order)
    elif isinstance(value, list):
        for index, child in enumerate(cast("list[Any]", value)):
            _look(child, f"{path}[{index}]", found, order)


def _in_yaml(content: bytes) -> Written:
    if len(content) > LARGEST_YAML:
        return NOTHING
    import yaml  # late: clients mostly speak JSON

    found, order, lines = list[str](), list[str](), list[int]()
    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        root: Any = cast("Any", yaml).compose(content.decode(), Loader=loader)
        if root is not None:  # of an empty body
            _nodes(root, "", set(), found, order, lines)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return NOTHING  # refused elsewhere, with its words
    return Written(found, order, lines[0]) if found else NOTHING


def _nodes(
    node: Any, path: str, visited: set[int], found: list[str], order: list[str], lines: list[int]
) -> None:
    if id(node) in visited:  # an alias can stand for itself a billion times
        return
    visited.add(id(node))
    if node.id == "mapping":
        seen: set[str] = set()
        for key, child in cast("list[tuple[Any, Any]]", node.value):
            name = str(key.value)
            at = f"{path}.{name}" if path else name
            order.append(at)
            if name in seen:
                found.append(at)
                lines.append(key.start_mark.line + 1)
            seen.add(name)
            _nodes(child, at, visited, found, order, lines)
    elif node.id == "sequence":
        for index, child in enumerate(cast("list[Any]", node.value)):
            _nodes(child, f"{path}[{index}]", visited, found, order, lines)


NOTHING = Written([], [])
