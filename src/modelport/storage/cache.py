"""The content-addressed cache: what lies where on disk, and who may rely on it.

    blobs/ab/abcd…           files by SHA-256, read-only; `.x` behind the digest of executable ones
    trees/<digest>/model/    models: hard links to blobs; beside them tree.json, what they should hold
    index/<uri>/<who>.json   what a URI was when it was last asked for, with these credentials
    partial/<uri>/           what has been fetched of a URI so far
    locks/<uri>              held by whoever fetches it
    use/<digest>             held (shared) by whoever uses a model; pins/<digest>/: by folders that outlive a process

Everything appears whole, by rename. Nothing waits for fsync: what was written before the machine went down is
verified against its digests when it is first used after that, and only then trusted for good.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from modelport.storage import clone, lock
from modelport.storage.lock import Lock
from modelport.storage.space import writing


class TreeFile(msgspec.Struct, frozen=True):
    """One file of a model as it lies in the cache."""

    path: str
    size: int
    sha256: str
    executable: bool = False
    modified_ns: int = 0
    """When it was last written: another time means that somebody wrote into the cache."""


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """What a model in the cache should hold."""

    files: tuple[TreeFile, ...]
    links: tuple[tuple[str, str], ...] = ()
    boot: str = ""
    """Of which run of the machine its writing may not have reached the disk; empty: verified since."""

    @property
    def bytes(self) -> int:
        """Its size."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """The same for the same content, wherever it came from."""
        digest = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.path):
            digest.update(f"{file.path}\0{file.sha256}\0{int(file.executable)}\n".encode())
        for path, target in sorted(self.links):
            digest.update(f"{path}\0-> {target}\n".encode())
        return f"sha256:{digest.hexdigest()}"


class SourceFile(msgspec.Struct, frozen=True):
    """A file as the store had it."""

    path: str
    size: int | None
    version: str
    sha256: str
    executable: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a URI was."""

    uri: str
    digest: str
    origin: str
    identity: str
    """Of the listing: `source.identity`."""
    validator: str = ""
    credential: str = ""
    files: tuple[SourceFile, ...] = ()
    bytes: int = 0
    fetched_at: float = 0.0
    """Seconds since 1970."""
    checked_at: float = 0.0
    """When the store last said that this is what it has."""


class Cache:
    """A folder that any number of processes share."""

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        """Unused models are dropped, the longest unused first, until it holds no more. None: no limit."""
        self.blobs = folder / "blobs"
        self.trees = folder / "trees"
        self.index = folder / "index"
        self.partial = folder / "partial"
        self.locks = folder / "locks"
        self.use = folder / "use"
        self.pins = folder / "pins"
        self.sweep_lock = folder / "sweep.lock"
        with writing(folder):
            for each in (self.blobs, self.trees, self.index, self.partial, self.locks, self.use, self.pins):
                each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def salt(self) -> bytes:
        """A secret of this cache's own, for telling credentials apart."""
        path = self.folder / "salt"
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        write(path, secrets.token_bytes(32), replace=False)
        return path.read_bytes()

    # What a URI was

    def entry(self, key: str, who: str) -> Entry | None:
        """What is known of a URI for these credentials."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self.index / key / f"{who}.json").read_bytes(), type=Entry)
        return None

    def entries(self, key: str) -> Iterator[Entry]:
        """What is known of a URI, for whatever credentials."""
        for path in sorted((self.index / key).glob("*.json")):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                yield msgspec.json.decode(path.read_bytes(), type=Entry)

    def remember(self, key: str, who: str, entry: Entry) -> None:
        """Writes down what a URI is."""
        with writing(self.index):
            _into(self.index / key, f"{who}.json", msgspec.json.encode(entry))

    # Models

    def model(self, digest: str) -> Path:
        """Where a model's files lie."""
        return self.trees / name_of(digest) / "model"

    def tree(self, digest: str) -> Tree | None:
        """What a model should hold; None where it is not in the cache."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self.trees / name_of(digest) / "tree.json").read_bytes(), type=Tree)
        return None

    def lease(self, digest: str) -> Lock | None:
        """Keeps a model in the cache while this process lives and the lock is held; None where it is gone."""
        path = self.use / name_of(digest)
        held = lock.acquire(path, shared=True)
        if (self.trees / name_of(digest)).is_dir():
            with contextlib.suppress(OSError):
                os.utime(path)
            return held
        held.release()
        return None

    def pin(self, digest: str, holder: Path) -> None:
        """Keeps a model in the cache for as long as `holder` exists, whoever lives or dies meanwhile."""
        text = str(holder.absolute())
        with writing(self.pins):
            _into(self.pins / name_of(digest), hashlib.sha256(text.encode()).hexdigest()[:32], text.encode())

    def healthy(self, digest: str, cancel: threading.Event | None = None) -> Tree | None:
        """A model's contents, if it is all there, as it was written. What is not is put away."""
        tree = self.tree(digest)
        if tree is None:
            return self._put_away(digest)
        thorough = bool(tree.boot) and tree.boot != boot_id()
        model = self.model(digest)
        for file in tree.files:
            path = model / file.path
            try:
                seen = path.stat()
            except OSError:
                return self._put_away(digest)
            if seen.st_size != file.size or seen.st_mtime_ns != file.modified_ns:
                return self._put_away(digest)
            if thorough and sha256(path, cancel) != file.sha256:
                return self._put_away(digest)
        if thorough:
            tree = msgspec.structs.replace(tree, boot="")
            write(self.trees / name_of(digest) / "tree.json", msgspec.json.encode(tree))
        return tree

    def _put_away(self, digest: str) -> None:
        """A damaged model: its blobs are suspect as well."""
        tree = self.tree(digest)
        for file in tree.files if tree is not None else ():
            self.blob(file.sha256, file.executable).unlink(missing_ok=True)
        aside = self.trees / f".old-{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            (self.trees / name_of(digest)).rename(aside)
            clone.remove(aside)

    def blob(self, digest: str, executable: bool) -> Path:
        """Where a file's content lies."""
        return self.blobs / digest[:2] / (digest + (".x" if executable else ""))

    def still_there(self) -> Lock:
        """While it is held, no blob is swept."""
        return lock.acquire(self.sweep_lock, shared=True)


def key_of(uri: str, *more: str) -> str:
    """The name of what is kept about a URI."""
    return hashlib.sha256("\0".join((uri, *more)).encode()).hexdigest()[:40]


def name_of(digest: str) -> str:
    """A digest as a file's name. Raises ValueError for what is no digest."""
    name = digest.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        raise ValueError(f"must be sha256: and 64 hexadecimal digits, got {digest!r}")
    return name


def write(path: Path, content: bytes, *, replace: bool = True) -> None:
    """A small file, whole or not at all, readable by this user alone. Without `replace` the first one stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if replace:
            temporary.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _into(folder: Path, name: str, content: bytes) -> None:
    """A small file in a folder that somebody may remove while it is empty."""
    while True:
        folder.mkdir(exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            write(folder / name, content)
            return


def sha256(
    path: Path, cancel: threading.Event | None = None, seen: Callable[[int], None] | None = None
) -> str:
    """A file's digest, read with one small buffer. Raises Cancelled."""
    from modelport.storage.failure import Cancelled

    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            if seen is not None:
                seen(count)
            if cancel is not None and cancel.is_set():
                raise Cancelled
    return digest.hexdigest()


def boot_id() -> str:
    """Which run of the machine this is; on systems that do not tell, one that never ends."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


def now() -> float:
    """Seconds since 1970, for what is kept on disk."""
    return time.time()
