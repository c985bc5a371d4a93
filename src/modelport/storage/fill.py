"""Filling the cache: what of a listing is here already, what has to come, and what becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from modelport.storage import clone, packed, prune, space
from modelport.storage.cache import Cache, Entry, SourceFile, Tree
from modelport.storage.download import Download
from modelport.storage.failure import Changed, StorageError
from modelport.storage.lock import Lock
from modelport.storage.packed import Limits
from modelport.storage.partial import Partial, prepare
from modelport.storage.progress import Reporter
from modelport.storage.retry import Budget
from modelport.storage.source import Listing, RemoteFile
from modelport.storage.space import writing
from modelport.storage.tree import Builder

SHARE_S = 0.5
"""How often others that wait can see how far this is."""


@dataclass(frozen=True)
class Filled:
    """A model that is in the cache now."""

    digest: str
    tree: Tree
    sources: tuple[SourceFile, ...]
    transferred: int
    lease: Lock


def fill(
    cache: Cache,
    key: str,
    listing: Listing,
    siblings: Sequence[Entry],
    *,
    limits: Limits,
    expected: str,
    budget: Budget,
    reporter: Reporter,
    cancel: threading.Event,
    lingering: list[threading.Thread],
) -> Filled:
    """Brings a listing into the cache. The URI's lock is held by the caller.

    `siblings` are entries of the same URI and origin: a file that has the same version in one need not come again.
    """
    folder = cache.partial / key
    prepare(folder)
    alone = listing.files[0] if len(listing.files) == 1 and listing.unpack else None
    made = listing.assemble is not None
    small = 0
    unpacked = alone is not None and packed.is_archive(alone.path)
    with Builder(cache) as builder:
        if listing.checkout is not None:
            reporter.enter("read")
            out = _empty(folder / "checkout")
            more = listing.checkout(out)
            for file in more:
                (out / file.path).unlink()
            small = sum(path.lstat().st_size for path in out.rglob("*") if path.is_file())
            builder.take_folder(out, cancel)
            listing = replace(listing, files=more)
        reused = [] if made or unpacked else _reuse(listing, siblings, builder)
        taken = {file.path for file, _ in reused}
        wanted = [file for file in listing.files if file.path not in taken]
        _make_room(cache, folder, wanted)
        _announce(reporter, listing, reused)
        got = _download(folder, listing, wanted, budget, reporter, cancel, lingering)
        sources = [_source(file, sha) for file, sha in reused] + [
            _source(one.file, one.sha256) for one in got
        ]
        if expected and len(sources) == 1 and sources[0].sha256 != expected and unpacked:
            _refuse_pin(expected, sources[0].sha256, folder)
        if listing.assemble is not None:
            reporter.enter("unpack")
            out = _empty(folder / "unpacked")
            listing.assemble(out, {one.file.path: one.path for one in got})
            builder.take_folder(out, cancel)
        elif unpacked and alone is not None:
            from modelport.storage import archive

            reporter.enter("unpack")
            out = _empty(folder / "unpacked")
            archive.unpack(got[0].path, alone.path, out, limits, cancel)
            builder.take_folder(out, cancel)
        else:
            reporter.enter("verify")
            for one in got:
                builder.take(one.file.path, one.path, one.sha256, one.file.executable)
        if listing.checkout is not None:
            sources = []  # a pin is over all of it, never over its one large file
        digest, tree, lease = builder.publish()
    clone.remove(folder)
    return Filled(digest, tree, tuple(sources), small + sum(file.size or 0 for file in wanted), lease)


def _reuse(listing: Listing, siblings: Sequence[Entry], builder: Builder) -> list[tuple[RemoteFile, str]]:
    """Puts what the cache has into the model."""
    known = {
        (file.path, file.size, file.version): file.sha256
        for entry in siblings
        for file in entry.files
        if file.version
    }
    reused: list[tuple[RemoteFile, str]] = []
    for file in listing.files:
        sha = file.sha256 or known.get((file.path, file.size, file.version))
        if sha is not None and builder.reuse(file.path, sha, file.executable):
            reused.append((file, sha))
    return reused


def _announce(reporter: Reporter, listing: Listing, reused: list[tuple[RemoteFile, str]]) -> None:
    done = sum(file.size or 0 for file, _ in reused)
    known = all(file.size is not None for file in listing.files)
    reporter.set(
        done=done,
        total=sum(file.size or 0 for file in listing.files) if known else None,
        cached=done,
        files_done=len(reused),
        files_total=len(listing.files),
    )
    reporter.enter("read")


def _make_room(cache: Cache, folder: Path, wanted: Sequence[RemoteFile]) -> None:
    """Says at once that a model does not fit, rather than after an hour. Unused models make way."""
    needed = sum(file.size or 0 for file in wanted)
    here = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    if cache.limit_bytes is not None and needed:
        prune.prune(cache, max(cache.limit_bytes - needed, 0))
    if needed - here > space.free(folder):
        prune.free(cache, needed - here)
        if needed - here > space.free(folder):
            raise space.short(folder, needed - here)


def _download(
    folder: Path,
    listing: Listing,
    wanted: Sequence[RemoteFile],
    budget: Budget,
    reporter: Reporter,
    cancel: threading.Event,
    lingering: list[threading.Thread],
) -> list[Partial]:
    if not wanted:
        return []
    download = Download(folder, wanted, listing.origin, budget=budget, reporter=reporter, cancel=cancel)
    shared = 0.0

    def tick() -> None:
        nonlocal shared
        reporter.tell()
        now = time.monotonic()
        if now - shared >= SHARE_S:
            shared = now
            with writing(folder):
                temporary = folder / "progress.new"
                temporary.write_bytes(msgspec.json.encode(reporter.now))
                temporary.replace(folder / "progress.json")

    try:
        download.run(tick)
    except Changed:
        _join(download.threads)
        raise
    finally:
        lingering[:] = [thread for thread in download.threads if thread.is_alive()]
    return download.partials


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def _source(file: RemoteFile, sha: str) -> SourceFile:
    return SourceFile(file.path, file.size, file.version, sha, file.executable)


def _empty(folder: Path) -> Path:
    clone.remove(folder)
    with writing(folder):
        folder.mkdir(mode=0o700)
    return folder


def _refuse_pin(expected: str, actual: str, folder: Path) -> None:
    """An archive that is not the one that was pinned is not even unpacked."""
    clone.remove(folder)
    raise StorageError(
        "verify",
        f"its SHA-256 should be {expected}, and it has {actual}",
        "If the archive was changed on purpose, change the pin; else do not use it",
        reason="Corrupt",
    )
