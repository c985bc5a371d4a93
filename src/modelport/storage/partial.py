"""One file on its way: where its bytes lie meanwhile, and which parts of it are there.

A large file that can be read in parts lies in ID.parts, of full size from the beginning, beside ID.journal: a line
for each block that is wholly written. Anything else is read in one go into ID.whole. Both become ID when complete.
A process may die between any two steps: a block without its line is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Generator, Iterator
from io import FileIO
from pathlib import Path
from typing import cast

from modelport.storage import cache as disk
from modelport.storage import clone
from modelport.storage.source import Chunk, RemoteFile
from modelport.storage.space import writing

PART = 8 << 20
"""Most bytes a request asks for."""
BLOCK = 1 << 20
"""Bytes a line of the journal: what a death costs at most, for each worker."""


class Partial:
    """What has been fetched of one file. There may be a hundred thousand of them: it holds no more than it must."""

    __slots__ = ("_folder", "_origin", "done", "file", "sha256")

    def __init__(self, folder: Path, file: RemoteFile, origin: str) -> None:
        self.file = file
        self._folder = folder
        self._origin = origin
        self.done: bytearray | bytes = b""
        """A byte a block: 1 where it is there."""
        self.sha256 = ""
        """The content's, once it is complete and what it should be."""

    @property
    def _name(self) -> str:
        file = self.file
        text = f"{self._origin}\0{file.path}\0{file.size}\0{file.version}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def path(self) -> Path:
        """Where it lies when it is complete."""
        return self._folder / self._name

    @property
    def whole(self) -> Path:
        """Where it lies while it is read in one go."""
        return self._folder / f"{self._name}.whole"

    @property
    def _parts(self) -> Path:
        return self._folder / f"{self._name}.parts"

    @property
    def _journal(self) -> Path:
        return self._folder / f"{self._name}.journal"

    @property
    def in_parts(self) -> bool:
        """Whether it is worth reading in parts, and can be."""
        return self.file.ranged and bool(self.file.version) and (self.file.size or 0) >= 2 * PART

    @property
    def count(self) -> int:
        """How many blocks it has."""
        return -(-(self.file.size or 0) // BLOCK)

    def extent(self, block: int) -> tuple[int, int]:
        """A block's first byte, and the one after its last."""
        return block * BLOCK, min((block + 1) * BLOCK, self.file.size or 0)

    def there(self) -> int:
        """Bytes in blocks that are there."""
        return sum(
            stop - start for start, stop in (self.extent(at) for at, one in enumerate(self.done) if one)
        )

    def missing(self) -> Iterator[tuple[int, int]]:
        """What to ask for: stretches of bytes, at most a part long."""
        start = stop = 0
        for block in range(self.count):
            first, last = self.extent(block)
            if self.done[block]:
                continue
            if stop > start and (first != stop or last - start > PART):
                yield start, stop
                start = first
            elif stop == start:
                start = first
            stop = last
        if stop > start:
            yield start, stop

    def complete(self) -> bool:
        """Whether an earlier try has all of it."""
        if not self.file.version:
            return False
        with contextlib.suppress(OSError):
            size = self.path.stat().st_size
            return self.file.size is None or size == self.file.size
        return False

    def resume(self) -> None:
        """Takes up what an earlier try left of its parts, and gives the file its full size."""
        with writing(self._parts):
            descriptor = os.open(self._parts, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size != self.file.size:
                    self._journal.unlink(missing_ok=True)
                    os.ftruncate(descriptor, self.file.size or 0)
            finally:
                os.close(descriptor)
            done = bytearray(self.count)
            with self._journal.open("a+b") as journal:
                journal.seek(0)
                lines = journal.read().split(b"\n")
                if lines[-1]:  # a line that was cut off: let the next one begin anew
                    journal.write(b"\n")
            for line in lines[:-1]:
                if line.isdigit() and int(line) < self.count:
                    done[int(line)] = 1
            self.done = done

    @contextlib.contextmanager
    def writer(self) -> Generator[Writer]:
        """For one stretch: open no longer than that, so that a model of a thousand files needs few descriptors."""
        with contextlib.ExitStack() as opened:
            with writing(self._parts):
                descriptor = os.open(self._parts, os.O_WRONLY | os.O_CLOEXEC)
                opened.callback(os.close, descriptor)
                log = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                opened.callback(os.close, log)
            yield Writer(self, descriptor, log)

    def reader(self) -> FileIO:
        """Reads back what was written, for its digest."""
        return self._parts.open("rb", buffering=0)

    def finish_parts(self) -> None:
        """All blocks are there."""
        with writing(self.path):
            self._parts.replace(self.path)

    def finish_whole(self) -> None:
        """It was read in one go."""
        with writing(self.path):
            self.whole.replace(self.path)

    def discard(self) -> None:
        """What was fetched is not what it should be."""
        for path in (self.path, self._parts, self._journal, self.whole):
            path.unlink(missing_ok=True)


class Writer:
    """Puts the bytes of a stretch where they belong."""

    def __init__(self, partial: Partial, descriptor: int, log: int) -> None:
        self._partial = partial
        self._path = partial.path
        self._done = cast("bytearray", partial.done)
        self._descriptor = descriptor
        self._log = log

    def write(self, chunk: Chunk, offset: int) -> None:
        """Writes all of it."""
        with writing(self._path):
            while len(chunk):
                written = os.pwrite(self._descriptor, chunk, offset)
                offset += written
                chunk = memoryview(chunk)[written:]

    def mark(self, start: int, stop: int) -> bool:
        """Bytes were written from a block's beginning on; whole blocks among them are there for good. Was one?"""
        partial = self._partial
        last = stop // BLOCK if stop < (partial.file.size or 0) else partial.count
        blocks = range(start // BLOCK, last)
        if blocks:
            with writing(self._path):
                os.write(self._log, "".join(f"{block}\n" for block in blocks).encode())
            self._done[blocks.start : blocks.stop] = b"\1" * len(blocks)
        return bool(blocks)


def prepare(folder: Path) -> None:
    """Makes the folder for a URI's partial files. After the machine went down, nothing in it can be relied on."""
    marker = folder / "boot"
    with writing(folder):
        with contextlib.suppress(OSError):
            if marker.read_text() == disk.boot_id():
                for left in folder.iterdir():
                    if left.is_dir() or left.suffix == ".whole":
                        clone.remove(left)
                return
        clone.remove(folder)
        folder.mkdir(parents=True, mode=0o700)
        disk.write(marker, disk.boot_id().encode())
