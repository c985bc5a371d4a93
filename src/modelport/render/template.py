"""Go templates as KServe's configuration and runtimes use them: `{{ .Name }}`, `{{.Labels.team}}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_PATH = re.compile(r"(?:\.[A-Za-z_][\w-]*)+")
_INDEX = re.compile(r'index\s+(\.[A-Za-z_]\w*)\s+"([^"]*)"')


class TemplateError(ValueError):
    """A template that is not understood. The message says where and what would be."""


def expand(template: str, values: Mapping[str, Any]) -> str:
    """The text with its actions replaced. A map's missing key becomes `<no value>`, as in Go."""

    def replace(found: re.Match[str]) -> str:
        action = found[1]
        if _PATH.fullmatch(action):
            return _look_up(action.lstrip(".").split("."), values, action)
        indexed = _INDEX.fullmatch(action)
        if indexed:
            return _look_up([indexed[1].lstrip("."), indexed[2]], values, action)
        raise TemplateError(
            f"template {template!r}: {found[0]!r} is not understood. Only fields are: {_known(values)}."
        )

    return _ACTION.sub(replace, template)


def expand_all(value: Any, values: Mapping[str, Any]) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return expand(value, values) if "{{" in value else value
    if isinstance(value, list):
        return [expand_all(item, values) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: expand_all(item, values) for key, item in cast("dict[str, Any]", value).items()}
    return value


def _look_up(path: list[str], values: Mapping[str, Any], action: str) -> str:
    if path[0] not in values:
        raise TemplateError(f"template field {action!r} is not known. Fields are: {_known(values)}.")
    found: Any = values[path[0]]
    for step in path[1:]:
        if not isinstance(found, Mapping):
            raise TemplateError(f"template field {action!r}: {path[0]} has no fields.")
        found = cast("Mapping[str, Any]", found).get(step, "<no value>")
    return str(found)


def _known(values: Mapping[str, Any]) -> str:
    return ", ".join(f".{name}" for name in values)
