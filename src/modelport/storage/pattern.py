"""Which files of a model are wanted: STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Patterns:
    """Globs over a file's path inside the model, as in huggingface_hub: `*` also crosses `/`."""

    allow: tuple[str, ...] = ()
    """Only files that fit one of these; empty: all."""
    ignore: tuple[str, ...] = ()
    """Files that fit one of these are left out, even where `allow` names them."""

    def wants(self, path: str) -> bool:
        """Whether to fetch a file."""
        if self.allow and not any(fnmatch.fnmatch(path, pattern) for pattern in self.allow):
            return False
        return not any(fnmatch.fnmatch(path, pattern) for pattern in self.ignore)

    def __bool__(self) -> bool:
        return bool(self.allow or self.ignore)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Patterns:
        """What KServe's two variables say: a JSON list, or patterns with commas between."""
        return cls(
            parse(environment.get("STORAGE_ALLOW_PATTERNS", "")),
            parse(environment.get("STORAGE_IGNORE_PATTERNS", "")),
        )


def parse(text: str) -> tuple[str, ...]:
    """Patterns out of a variable's text."""
    text = text.strip()
    if not text:
        return ()
    found: Any
    try:
        found = json.loads(text)
    except ValueError:
        found = text.split(",")
    listed: list[Any] = found if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownVariableType]
    return tuple(pattern for item in listed if (pattern := str(item).strip()))
