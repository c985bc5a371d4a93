"""Keys that a body has twice. Parsers take the last one in silence; who wrote both meant something else."""

from __future__ import annotations

import json
from typing import Any, cast

import yaml

LARGEST_YAML = 256 << 10
"""YAML is read slowly: larger bodies are not looked into a second time."""


class _Pairs(list[tuple[str, Any]]):
    """A map as it was written."""


def duplicates(content: bytes) -> list[str]:
    """Paths of fields that are there twice, as in `spec.containers[0].image`. A body that is no text has none."""
    try:
        written: Any = json.loads(content, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return _in_yaml(content)
    found: list[str] = []
    try:
        _look(written, "", found)
    except RecursionError:
        return []  # refused elsewhere, for its depth
    return found


def _look(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            at = f"{path}.{key}" if path else key
            if key in seen:
                found.append(at)
            seen.add(key)
            _look(child, at, found)
    elif isinstance(value, list):
        for index, child in enumerate(cast("list[Any]", value)):
            _look(child, f"{path}[{index}]", found)


def _in_yaml(content: bytes) -> list[str]:
    if len(content) > LARGEST_YAML:
        return []
    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        root: Any = cast("Any", yaml).compose(content.decode(), Loader=loader)
        return _nodes(root, "", set())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return []  # refused elsewhere, with its words


def _nodes(node: Any, path: str, visited: set[int]) -> list[str]:
    if id(node) in visited:  # an alias can stand for itself a billion times
        return []
    visited.add(id(node))
    found: list[str] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in cast("list[tuple[Any, Any]]", node.value):
            name = str(key.value)
            at = f"{path}.{name}" if path else name
            if name in seen:
                found.append(at)
            seen.add(name)
            found += _nodes(child, at, visited)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(cast("list[Any]", node.value)):
            found += _nodes(child, f"{path}[{index}]", visited)
    return found
