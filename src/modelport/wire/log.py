"""A container's log on disk, which its processes write themselves, and what the node writes down beside it.

`POD/CONTAINER/RUN.log` holds the bytes that run number RUN has written, and nothing of ours. `RUN.times` says when:
records of 16 bytes, two little-endian signed integers, a moment in microseconds since 1970 and the log's length then,
both never falling. A line was written at the latest at the moment of the first record whose length lies behind the
line's beginning, and after the moment of the record before it.

The first record's length is where the log begins: what lies before was dropped to bound its size, reads as zeros and
takes no disk (a hole). Positions never change, so whoever follows a log follows it over that. When the first record
changes, the file is replaced as a whole.
"""

from __future__ import annotations

import bisect
import os
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

_RECORD = struct.Struct("<qq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def times_file(log: Path) -> Path:
    """The file of times beside a log."""
    return log.with_suffix(".times")


def encode(moment: datetime, length: int) -> bytes:
    """A record."""
    return _RECORD.pack((moment - _EPOCH) // timedelta(microseconds=1), length)


class Times:
    """The times of one log, read as they grow."""

    def __init__(self, log: Path) -> None:
        self._path = times_file(log)
        self._lengths: list[int] = []
        self._moments: list[int] = []
        self._read = 0
        self._inode = 0

    @property
    def begin(self) -> int:
        """Where the log begins."""
        return self._lengths[0] if self._lengths else 0

    @property
    def known(self) -> bool:
        """Whether there is any record."""
        return bool(self._lengths)

    @property
    def last(self) -> int:
        """The log's length at the last record; 0 without one."""
        return self._lengths[-1] if self._lengths else 0

    @property
    def moment(self) -> datetime | None:
        """The moment of the last record."""
        return self._moment(len(self._moments) - 1) if self._moments else None

    def refresh(self) -> None:
        """Reads what was added. Without a file there are no times. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._read:
                    self._lengths, self._moments, self._read = [], [], 0
                    self._inode = state.st_ino
                file.seek(self._read)
                data = file.read(state.st_size - self._read)
        except FileNotFoundError:
            self._lengths, self._moments, self._read, self._inode = [], [], 0, 0
            return
        whole = len(data) - len(data) % _RECORD.size  # the last record may be half written
        for moment, length in _RECORD.iter_unpack(data[:whole]):
            self._moments.append(moment)
            self._lengths.append(length)
        self._read += whole

    def at(self, position: int) -> datetime | None:
        """When the line that begins at a position was written; None where that is not written down yet."""
        return self._moment(bisect.bisect_right(self._lengths, position))

    def since(self, moment: datetime) -> int:
        """The position behind all that was surely written before a moment."""
        at = bisect.bisect_left(self._moments, (moment - _EPOCH) // timedelta(microseconds=1))
        return self._lengths[at - 1] if at > 0 else self.begin

    def kept_from(self, position: int) -> bytes:
        """The records of a log that begins at a position."""
        first = bisect.bisect_right(self._lengths, position)
        found = [encode(self._moment(max(first - 1, 0)) or _EPOCH, position)]
        rest: Sequence[int] = range(first, len(self._lengths))
        found += [_RECORD.pack(self._moments[i], self._lengths[i]) for i in rest]
        return b"".join(found)

    def _moment(self, index: int) -> datetime | None:
        if index >= len(self._moments):
            return None
        return _EPOCH + timedelta(microseconds=self._moments[index])
