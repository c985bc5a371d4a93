"""Dropping what nobody uses: the longest unused first, never what is in use."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelport.storage import clone, lock, space
from modelport.storage.cache import Cache
from modelport.storage.progress import Progress

ABANDONED_S = 7 * 24 * 3600.0
"""What was fetched half, and not gone on with for so long, goes at the next prune."""
FRESH_S = 3600.0
"""Leftovers of a model in the making are somebody's until then."""


@dataclass(frozen=True)
class Held:
    """A model in the cache."""

    digest: str
    uris: tuple[str, ...]
    bytes: int
    used_at: float
    """Seconds since 1970."""
    in_use: bool


@dataclass(frozen=True)
class Half:
    """What has been fetched of a URI so far."""

    uri: str
    """Without secrets; empty where it is not known."""
    bytes: int
    """On disk."""
    changed_at: float
    """When something of it last came, in seconds since 1970."""
    in_use: bool
    """Whether a process fetches it now."""


@dataclass(frozen=True)
class Pruned:
    """What a prune did."""

    models: int
    freed_bytes: int
    left_bytes: int


def held(cache: Cache) -> list[Held]:
    """All models, the longest unused first."""
    uris: dict[str, list[str]] = {}
    for folder in cache.index.iterdir():
        for entry in cache.entries(folder.name):
            if entry.uri not in uris.setdefault(entry.digest, []):
                uris[entry.digest].append(entry.uri)
    found: list[Held] = []
    for folder in cache.trees.iterdir():
        digest = f"sha256:{folder.name}"
        if folder.name.startswith(".") or (tree := cache.tree(digest)) is None:
            continue
        found.append(
            Held(
                digest,
                tuple(sorted(uris.get(digest, []))),
                tree.bytes,
                _used(cache, folder.name),
                in_use(cache, digest),
            )
        )
    return sorted(found, key=lambda one: one.used_at)


def halves(cache: Cache) -> list[Half]:
    """What was begun and is not whole, that which waits longest first."""
    found: list[Half] = []
    for folder in cache.partial.iterdir():
        told = Progress("")
        with contextlib.suppress(OSError, msgspec.DecodeError):
            told = msgspec.json.decode((folder / "progress.json").read_bytes(), type=Progress)
        states: list[os.stat_result] = []
        for path in _files(folder):
            with contextlib.suppress(OSError):  # whoever fetches it may have renamed it
                states.append(path.stat())
        probe = lock.attempt(cache.locks / folder.name)
        if probe is not None:
            probe.release()
        taken = sum(state.st_blocks * 512 for state in states)
        newest = max((state.st_mtime for state in states), default=0.0)
        found.append(Half(told.uri, taken, newest, probe is None))
    return sorted(found, key=lambda one: one.changed_at)


def in_use(cache: Cache, digest: str) -> bool:
    """Whether a process holds it, or a pin's holder still exists."""
    name = digest.removeprefix("sha256:")
    if _pinned(cache, name):
        return True
    probe = lock.attempt(cache.use / name)
    if probe is None:
        return True
    probe.release()
    return False


def size(cache: Cache) -> int:
    """Bytes that the cache takes on disk."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for root in (cache.blobs, cache.trees, cache.partial):
        for folder, _, files in os.walk(root):
            for name in files:
                with contextlib.suppress(OSError):
                    stat = os.lstat(f"{folder}/{name}")
                    if (stat.st_dev, stat.st_ino) not in seen:
                        seen.add((stat.st_dev, stat.st_ino))
                        total += stat.st_blocks * 512
    return total


def prune(cache: Cache, keep_bytes: int) -> Pruned:
    """Drops unused models until the cache takes at most `keep_bytes`, and what was abandoned half-way."""
    _leftovers(cache)
    before = left = size(cache)
    models = 0
    for one in held(cache):
        if left <= keep_bytes:
            break
        if drop(cache, one.digest):
            models += 1
            left = size(cache)
    if left > keep_bytes:
        _partials(cache, 0.0)
        left = size(cache)
    return Pruned(models, max(before - left, 0), left)


def free(cache: Cache, needed: int) -> None:
    """Drops unused models, then what lies there half, until the disk has room for so many bytes more."""
    _leftovers(cache)
    for one in held(cache):
        if space.free(cache.folder) >= needed:
            return
        drop(cache, one.digest)
    if space.free(cache.folder) < needed:
        _partials(cache, 0.0)


def abandoned(cache: Cache) -> None:
    """Drops what was fetched half and forgotten: cheap, for caches without a limit too."""
    _partials(cache, ABANDONED_S)


def drop(cache: Cache, digest: str) -> bool:
    """Removes a model, unless it is in use."""
    name = digest.removeprefix("sha256:")
    if _pinned(cache, name):
        return False
    mine = lock.attempt(cache.use / name)
    if mine is None:
        return False
    with mine:
        aside = cache.trees / f".old-{name}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            (cache.trees / name).rename(aside)
        (cache.use / name).unlink(missing_ok=True)
    clone.remove(aside)
    for path in cache.index.glob("*/*.json"):
        entry = cache.entry(path.parent.name, path.stem)
        if entry is not None and entry.digest == digest:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    sweep(cache)
    return True


def sweep(cache: Cache) -> None:
    """Removes blobs that no model has. Skipped while somebody links blobs: the next sweep finds them too."""
    mine = lock.attempt(cache.sweep_lock)
    if mine is None:
        return
    with mine:
        for folder in cache.blobs.iterdir():
            for blob in folder.iterdir():
                with contextlib.suppress(OSError):
                    if blob.stat().st_nlink == 1:
                        blob.unlink()


def _pinned(cache: Cache, name: str) -> bool:
    folder = cache.pins / name
    if not folder.is_dir():
        return False
    for pin in folder.iterdir():
        if pin.name.startswith("."):
            continue
        with contextlib.suppress(FileNotFoundError):
            # A link is a holder too, wherever it points.
            if os.path.lexists(pin.read_text()):
                return True
            pin.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return False


def _used(cache: Cache, name: str) -> float:
    with contextlib.suppress(OSError):
        return (cache.use / name).stat().st_mtime
    return 0.0


def _leftovers(cache: Cache) -> None:
    """What processes that were killed left behind."""
    now = time.time()
    for folder in cache.trees.glob(".*"):
        with contextlib.suppress(OSError):
            if folder.name.startswith(".old-") or now - folder.stat().st_mtime > FRESH_S:
                clone.remove(folder)
    _partials(cache, ABANDONED_S)
    sweep(cache)


def _partials(cache: Cache, older_s: float) -> None:
    now = time.time()
    for folder in cache.partial.iterdir():
        mine = lock.attempt(cache.locks / folder.name)
        if mine is None:
            continue
        with mine, contextlib.suppress(OSError):
            newest = max((path.stat().st_mtime for path in _files(folder)), default=0.0)
            if now - newest >= older_s:
                clone.remove(folder)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
