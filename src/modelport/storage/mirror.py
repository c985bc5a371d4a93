"""The mirror table: prefixes of URIs that are fetched from somewhere else, so that YAML from the internet runs
behind a wall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mirror:
    """One row: URIs that begin with `prefix` begin with `target` instead."""

    prefix: str
    target: str


def rewrite(uri: str, mirrors: Iterable[Mirror]) -> str:
    """Where a URI really is fetched from: the longest prefix that fits decides; without one, the URI itself."""
    fitting = [mirror for mirror in mirrors if _fits(uri, mirror.prefix)]
    if not fitting:
        return uri
    best = max(fitting, key=lambda mirror: len(mirror.prefix))
    rest = uri[len(best.prefix) :]
    if best.target.startswith(("file:", "/")) and uri.startswith(("http://", "https://")):
        rest = rest.partition("?")[0]  # a folder knows no `?raw=true`
    if rest and not rest.startswith("/") and not best.target.endswith("/") and best.prefix.endswith("/"):
        rest = "/" + rest
    return best.target + rest


def _fits(uri: str, prefix: str) -> bool:
    """By whole segments: `gs://models` fits gs://models/x and gs://models, never gs://models-2."""
    if not prefix or not uri.startswith(prefix):
        return False
    return prefix.endswith(("/", ":")) or uri[len(prefix) : len(prefix) + 1] in ("", "/", "?", "#", ":", "@")
