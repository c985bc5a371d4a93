"""One log file: its tail, what is new in it, and when its lines were written, as far as it can be known.

Processes write to the file directly, so that it holds their words and no times of ours. The node notes beside it when
it grew (`wire/log.py`), and where its kept part begins. Where there is no such note, a line's time is the one that it
begins with, else that of the line before it; where lines since a moment are asked for then, lines without a time of
their own are shown rather than hidden.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from modelport.kube.meta import micro_timestamp
from modelport.wire.log import Times

BLOCK = 64 << 10
Since = datetime
_TIME = re.compile(rb"[\[(]?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")


class LogFile:
    """A file that may still grow, be cut short, or be replaced. All methods block."""

    def __init__(
        self,
        path: Path,
        *,
        tail: int | None,
        since: Since | None,
        stamped: bool,
        begun: datetime,
        clock: Callable[[], datetime],
    ) -> None:
        """`stamped`: every line gets its time in front. `begun`: when the run began."""
        self._path = path
        self._file = path.open("rb")
        self._stamped = stamped
        self._time = begun
        self._clock = clock
        self._part = b""
        self._live = False
        self._times = Times(path)
        self._times.refresh()
        start = self._times.begin
        if since is not None:
            known = self._times.known
            start = (
                _line_at(self._file, self._times.since(since)) if known else _first_since(self._file, since)
            )
        if tail is not None:
            start = max(start, _first_of_last(self._file, tail, self._times.begin))
        self._file.seek(start)
        self._at = start
        """Where the line begins that comes next."""

    def close(self) -> None:
        """Lets go of it."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """What comes next, at most about `size` bytes; nothing where nothing new is there yet."""
        while block := self._next(size):
            # A block without a line's end says nothing yet.
            ready = self._stamp(block) if self._stamped else block
            if ready:
                return ready
        return b""

    def _next(self, size: int) -> bytes:
        start = self._file.tell()
        block = self._file.read(size)
        if not block:
            self._live = True
            if not self._renewed():
                return b""
            start = self._file.tell()
            block = self._file.read(size)
        self._times.refresh()
        behind = self._times.begin - start
        if behind > 0:  # what was to come has been dropped meanwhile
            self._file.seek(max(self._times.begin, self._file.tell()))
            block = block[behind:]
            self._part, self._at = b"", self._times.begin
            return block or self._next(size)
        return block

    def rest(self) -> bytes:
        """What has been read of a line that never ended."""
        part, self._part = self._part, b""
        return self._line(part) if part else b""

    def _renewed(self) -> bool:
        """Whether the file was cut or replaced (rotated), and is read from its new beginning."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return False
        if state.st_ino != os.fstat(self._file.fileno()).st_ino:
            self._file.close()
            self._file = self._path.open("rb")
            self._at = 0
            return True
        if state.st_size < self._file.tell():
            self._file.seek(0)
            self._at = 0
            return True
        return False

    def _stamp(self, block: bytes) -> bytes:
        lines = (self._part + block).split(b"\n")
        self._part = lines.pop()
        return b"".join(self._line(line) + b"\n" for line in lines)

    def _line(self, line: bytes) -> bytes:
        self._time = self._when(line)
        self._at += len(line) + 1
        return micro_timestamp(self._time).encode() + b" " + line

    def _when(self, line: bytes) -> datetime:
        if self._times.known:
            # What is not noted yet was written since: when it was written last, or just now.
            written = datetime.fromtimestamp(os.fstat(self._file.fileno()).st_mtime, UTC)
            return self._times.at(self._at) or min(written, self._clock())
        told = time_of(line)
        if told is not None:
            return told
        # Lines that come while somebody looks are written now.
        return self._clock() if self._live else self._time


def time_of(line: bytes) -> datetime | None:
    """The time that a line begins with. One without a zone is this machine's."""
    found = _TIME.match(line)
    if found is None:
        return None
    day, clock, fraction, zone = (part.decode() if part else "" for part in found.groups())
    micro = fraction[:6].ljust(6, "0")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{micro}{zone.replace('Z', '+00:00')}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _first_since(file: BinaryIO, since: datetime) -> int:
    """Behind the last line that tells an earlier time; the end where the whole file is older."""
    end = file.seek(0, 2)
    if datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC) < since:
        return end
    file.seek(0)
    start = position = 0
    for line in file:
        position += len(line)
        told = time_of(line)
        if told is not None and told < since:
            start = position
    return start


def _line_at(file: BinaryIO, position: int) -> int:
    """Where the first line begins that begins at a position or behind it."""
    if position == 0:
        return 0
    file.seek(position - 1)
    if file.read(1) in (b"\n", b"\0"):
        return position
    file.readline()
    return file.tell()


def _first_of_last(file: BinaryIO, lines: int, begin: int) -> int:
    """Where the last `lines` lines begin, in a file whose content begins at `begin`."""
    position = end = file.seek(0, 2)
    if lines == 0:
        return end
    found = 0
    while position > begin:
        size = min(BLOCK, position - begin)
        position -= size
        file.seek(position)
        block = file.read(size)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            # The newline that ends the last line begins none.
            if position + at == end - 1:
                continue
            found += 1
            if found == lines:
                return position + at + 1
    return begin
