"""Looking before leaping: what a fetch of a URI would do, with which credential, without doing it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelport.storage import mirror, packed, scheme
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.mirror import Mirror
from modelport.storage.pattern import Patterns
from modelport.storage.progress import Reporter
from modelport.storage.retry import Budget, Retry
from modelport.storage.source import Claims, Context, InPlace, Listing, Unchanged
from modelport.storage.uri import pin, redact


@dataclass(frozen=True)
class Look:
    """What is there."""

    uri: str
    mirrored_from: str | None
    scheme: str
    credential: str
    """Name of the credential that was used; empty: none."""
    files: tuple[tuple[str, int | None], ...]
    """Paths and sizes; empty for git, which tells a commit only."""
    version: str
    """The commit, for git."""
    in_place: bool
    unpacked: bool
    """Its one file is an archive, which a fetch unpacks."""

    @property
    def bytes(self) -> int:
        """As much as the store tells of its size."""
        return sum(size or 0 for _, size in self.files)


def look(
    uri: str,
    *,
    credentials: Credentials | None = None,
    mirrors: Iterable[Mirror] = (),
    patterns: Patterns | None = None,
    claims: Claims | None = None,
    retry: Retry | None = None,
) -> Look:
    """Asks the store what the URI is. Raises StorageError."""
    bare, _ = pin(uri)
    target = mirror.rewrite(bare, mirrors)
    context = Context(
        credentials=credentials or Credentials(), patterns=patterns or Patterns(), claims=claims
    )
    budget = Budget(retry or Retry(budget_s=10.0), Reporter(redact(bare), None), threading.Event())
    try:
        while True:
            try:
                found = scheme.resolve(target, context)
                break
            except StorageError as error:
                budget.failed(error)
    except StorageError as error:
        raise error.about(redact(target), "") from error.__cause__
    files: tuple[tuple[str, int | None], ...] = ()
    if isinstance(found, Listing):
        files = tuple((file.path, file.size) for file in found.files if context.patterns.wants(file.path))
    elif isinstance(found, InPlace):
        _, _, paths = scheme.survey(found.path, context.cancel)
        files = tuple((path or found.path.name, _size(found.path / path)) for path in paths)
    listed = found if isinstance(found, Listing) else None
    assert not isinstance(found, Unchanged)  # noqa: S101 (nothing was known)
    return Look(
        uri=redact(bare),
        mirrored_from=redact(target) if target != bare else None,
        scheme=scheme.name_of(target),
        credential=listed.credential if listed is not None else "",
        files=files,
        version=listed.version if listed is not None else "",
        in_place=isinstance(found, InPlace),
        unpacked=listed is not None and listed.unpack and len(files) == 1 and packed.is_archive(files[0][0]),
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None  # removed since
