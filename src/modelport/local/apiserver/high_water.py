"""The newest version that was acknowledged, in a file of its own beside the state file.

SQLite takes a write-ahead log as far as its checksums hold, and says nothing of what came behind: a log that is damaged,
cut short or gone brings back an older state, as if nothing had happened since. This number tells.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LENGTH = 20
"""Bytes: the number, spaces, the end of the line. Always the same, as a full disk has no room for another block."""


def place(path: Path) -> Path:
    """Where the number of a state file is."""
    return path.with_name(f"{path.name}.newest")


def read(path: Path) -> int:
    """The number for a state file; 0 where there is none, or none that can be read."""
    try:
        return int(place(path).read_bytes()[:LENGTH])
    except (OSError, ValueError):
        return 0


class HighWater:
    """The number, for the one that writes the state file. `close` it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be made."""
        self._file = os.open(place(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def rise(self, version: int) -> None:
        """To a version that is on disk already.

        It need not be there itself: with the machine it can only die too low, and that accuses no file.
        """
        with contextlib.suppress(OSError):
            os.pwrite(self._file, f"{version:<{LENGTH - 1}}\n".encode(), 0)

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)
