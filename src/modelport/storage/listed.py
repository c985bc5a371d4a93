"""What a store has listed: which of it is wanted, whether a folder can hold it, whether the cache has it."""

from __future__ import annotations

from dataclasses import replace

from modelport.storage.cache import Entry
from modelport.storage.failure import StorageError
from modelport.storage.pattern import Patterns
from modelport.storage.source import Listing, RemoteFile
from modelport.storage.source import identity as identity_of
from modelport.storage.uri import safe_path


def identity(listing: Listing) -> str:
    """Of what is listed, in its versions; empty where a file has none."""
    if listing.checkout is not None:
        return f"checkout:{listing.version}"
    if any(not file.version for file in listing.files):
        return ""
    return identity_of(listing.files)


def same(entry: Entry, listing: Listing) -> bool:
    """Whether the cache has what is listed."""
    known = identity(listing)
    return bool(known) and entry.identity == known and entry.origin == listing.origin


def wanted(listing: Listing, patterns: Patterns) -> Listing:
    """The files that the patterns want, under paths that a folder can hold. Raises StorageError."""
    if listing.checkout is not None:
        return listing
    named = (_named(file) for file in listing.files)
    files = tuple(file for file in named if patterns.wants(file.path))
    _distinct([file.path for file in files])
    if not files:
        left = len(listing.files)
        raise StorageError(
            "list",
            f"there is no model: {left} files are there, and the patterns want none of them"
            if left
            else "there is no model: nothing lies there",
            "Check STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS"
            if left
            else "Check the path for typing errors",
            reason="NotFound",
        )
    return replace(listing, files=files)


def _named(file: RemoteFile) -> RemoteFile:
    path = safe_path(file.path)
    return file if path == file.path else replace(file, path=path)


def _distinct(paths: list[str]) -> None:
    """A store may have an object `a` and another `a/b`; a folder cannot."""
    known = set(paths)
    twice = next((path for path in paths if any(above in known for above in _parents(path))), None)
    if twice is None and len(known) == len(paths):
        return
    what = f"{twice}, and a file of the name of its folder" if twice else "two files of the same path"
    raise StorageError(
        "list",
        f"the store has {what}, which no folder can hold",
        "Rename one, or leave it out with STORAGE_IGNORE_PATTERNS",
        reason="Unsupported",
    )


def _parents(path: str) -> list[str]:
    return [path[:place] for place, letter in enumerate(path) if letter == "/"]
