"""YAML in bodies, as Kubernetes reads it. Imported when somebody sends or wants some: clients mostly speak JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import yaml


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: times stay texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def loaded(body: bytes) -> Any:
    """A body as plain data, of what JSON can say. Raises ValueError and RecursionError."""
    try:
        return _loaded(body)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def dumped(value: Any) -> bytes:
    """Plain data as YAML."""
    return yaml.safe_dump(value, sort_keys=False).encode()


def _loaded(body: bytes) -> Any:
    text = body.decode()
    # An alias can stand for itself a billion times.
    events: Iterable[object] = cast("Any", yaml).parse(text, Loader=_Loader) if "*" in text else ()
    if any(isinstance(event, yaml.AliasEvent) for event in events):
        raise ValueError("aliases are not allowed. Write out what they stand for.")
    loaded: Any = cast("Any", yaml).load(text, Loader=_Loader)
    _check_sayable(loaded)
    return loaded


def _check_sayable(value: Any) -> None:
    """ValueError for what JSON cannot say: bytes, sets, keys that are no texts, numbers without end."""
    if isinstance(value, dict):
        for key, child in cast("dict[Any, Any]", value).items():
            if not isinstance(key, str):
                raise ValueError(f"a key must be a text, got {key!r}. Put it in quotes.")
            _check_sayable(child)
    elif isinstance(value, list):
        for child in cast("list[Any]", value):
            _check_sayable(child)
    elif not isinstance(value, str | int | float | None) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f"{value!r} cannot be said in JSON. Put it in quotes.")
