"""Certificates with their keys on disk, beside the route table: for their owner only, named by their content's SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from modelport.local.folder import write

FOLDER = "certificates"
"""The gateway looks there, beside its table."""


class CertificateFiles:
    """The folder. It blocks."""

    def __init__(self, table: Path) -> None:
        self._folder = table.with_name(FOLDER)

    def is_whole(self, name: str) -> bool:
        """Whether that file is there as it was written."""
        content = self._read(name)
        return content is not None and hashlib.sha256(content).hexdigest() == name

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes those that are not there yet, or not as they should be."""
        if files:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in files.items():
            if self._read(name) != content:
                write(self._folder / name, content)

    def keep(self, names: Collection[str]) -> None:
        """Deletes all others, and what a process that was killed has left half written."""
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if path.name not in names:
                    path.unlink(missing_ok=True)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None
