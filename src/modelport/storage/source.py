"""What a scheme makes of a URI: the files to fetch and how to read them. The one shape that all schemes share.

A scheme is a function `resolve(uri, context) -> Found`. It asks the store what lies there and returns without
reading files; the cache, retries, parallel reads, verification and unpacking are the same for all.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelport.storage.credentials import Credentials
from modelport.storage.packed import Limits
from modelport.storage.pattern import Patterns

Chunk = bytes | memoryview
Read = Callable[[int, int | None], Iterator[Chunk]]
"""`read(start, stop)` yields exactly the bytes from start up to stop (None: the end). It raises StorageError,
transient where another try may help; Changed where the file is another by now; NoRange where the server sends the
whole instead. Closing the iterator frees its connection. Called from several threads at once."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model, where it comes from."""

    path: str
    """Its place in the model's folder, with `/`."""
    read: Read = field(compare=False)
    size: int | None = None
    """In bytes; None where the server does not say."""
    version: str = ""
    """Changes whenever the content does: an ETag or a digest. Empty: unknown, so never taken from the cache."""
    sha256: str | None = None
    """The content's, where the store tells it; it is verified."""
    ranged: bool = True
    """Whether parts can be read, in parallel and after a break."""
    executable: bool = False


@dataclass(frozen=True)
class Listing:
    """A model as the store has it now."""

    files: tuple[RemoteFile, ...]
    origin: str
    """Which store this is, beyond the URI: endpoint and bucket. Versions are compared only within one origin."""
    credential: str = ""
    """Name of the credential that was used; empty: none."""
    validator: str = ""
    """For the next request, so that an unchanged model costs one: an ETag."""
    unpack: bool = True
    """Whether an archive that is the model's only file is unpacked, as KServe does."""
    assemble: Callable[[Path, dict[str, Path]], None] | None = field(default=None, compare=False)
    """Makes the model's folder out of the files fetched (by path), where that is more than putting them there."""
    checkout: Callable[[Path], tuple[RemoteFile, ...]] | None = field(default=None, compare=False)
    """Fills the model's folder by itself, where the store has no files to read one by one (git). `files` is empty.
    It gives files that are still to be read, each in the place of what stands for it in the folder (Git LFS)."""
    version: str = ""
    """With `checkout`: what would be checked out, a commit."""


@dataclass(frozen=True)
class InPlace:
    """The model is on this machine: used where it lies, never copied."""

    path: Path


class Unchanged:
    """The store says that what the cache has is still right (as for If-None-Match)."""


Found = Listing | InPlace | Unchanged


@dataclass(frozen=True)
class Known:
    """What the cache has of this URI, got with the same credentials."""

    validator: str


Claims = Callable[[str], Path]
"""Gives the folder of a PersistentVolumeClaim. Raises LookupError with words."""


@dataclass(frozen=True)
class Context:
    """What a scheme may use."""

    credentials: Credentials = field(default_factory=Credentials)
    patterns: Patterns = field(default_factory=Patterns)
    known: Known | None = None
    claims: Claims | None = None
    limits: Limits = field(default_factory=Limits)
    cancel: threading.Event = field(default_factory=threading.Event)
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 30.0


def identity(files: Iterable[RemoteFile]) -> str:
    """A digest of what a listing says: the same for the same files in the same versions."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.size}\0{file.version}\0{int(file.executable)}\n".encode())
    return digest.hexdigest()
