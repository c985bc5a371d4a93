"""One file on its way: where its bytes lie meanwhile, and which parts of it are there.

A large file that can be read in parts lies in ID.parts, of full size from the beginning, beside ID.journal: a line
for each block that is wholly written. Anything else is read in one go into ID.whole. Both become ID when complete.
A process may die between any two steps: a block without its line is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from modelport.storage import cache as disk
from modelport.storage import clone
from modelport.storage.source import Chunk, RemoteFile
from modelport.storage.space import writing

PART = 8 << 20
"""Most bytes a request asks for."""
BLOCK = 1 << 20
"""Bytes a line of the journal: what a death costs at most, for each worker."""


class Partial:
    """What has been fetched of one file."""

    def __init__(self, folder: Path, file: RemoteFile, origin: str) -> None:
        self.file = file
        text = f"{origin}\0{file.path}\0{file.size}\0{file.version}"
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.path = folder / name
        self._parts = folder / f"{name}.parts"
        self._journal = folder / f"{name}.journal"
        self.whole = folder / f"{name}.whole"
        self._descriptor = -1
        self._log = -1
        self.done: set[int] = set()
        """Blocks that are there."""

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

    def missing(self) -> list[tuple[int, int]]:
        """What to ask for: stretches of bytes, at most a part long."""
        found: list[tuple[int, int]] = []
        for block in range(self.count):
            if block in self.done:
                continue
            start, stop = self.extent(block)
            if found and found[-1][1] == start and stop - found[-1][0] <= PART:
                found[-1] = (found[-1][0], stop)
            else:
                found.append((start, stop))
        return found

    def complete(self) -> bool:
        """Whether an earlier try has all of it."""
        if not self.file.version:
            return False
        with contextlib.suppress(OSError):
            return self.file.size is None or self.path.stat().st_size == self.file.size
        return False

    def open_parts(self) -> None:
        """Opens the file for its parts, with what an earlier try left."""
        with writing(self._parts):
            self._descriptor = os.open(self._parts, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._descriptor).st_size != self.file.size:
                self._journal.unlink(missing_ok=True)
                os.ftruncate(self._descriptor, self.file.size or 0)
            self._log = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            lines = self._journal.read_bytes().split(b"\n")
            self.done = {int(line) for line in lines[:-1] if line.isdigit() and int(line) < self.count}
            if lines[-1]:  # a line that was cut off: let the next one begin anew
                os.write(self._log, b"\n")

    def write(self, chunk: Chunk, offset: int) -> None:
        """Puts bytes where they belong."""
        with writing(self._parts):
            while len(chunk):
                written = os.pwrite(self._descriptor, chunk, offset)
                offset += written
                chunk = memoryview(chunk)[written:]

    def mark(self, start: int, stop: int) -> bool:
        """Bytes were written from a block's beginning on; whole blocks among them are there for good. Was one?"""
        last = stop // BLOCK if stop < (self.file.size or 0) else self.count
        blocks = range(start // BLOCK, last)
        if blocks:
            with writing(self._journal):
                os.write(self._log, "".join(f"{block}\n" for block in blocks).encode())
            self.done.update(blocks)
        return bool(blocks)

    def read_into(self, buffer: bytearray, offset: int) -> int:
        """Reads back what was written, for its digest."""
        return os.preadv(self._descriptor, [buffer], offset)

    def finish_parts(self) -> None:
        """All blocks are there."""
        with writing(self.path):
            self._parts.replace(self.path)
        self.close()

    def finish_whole(self) -> None:
        """It was read in one go."""
        with writing(self.path):
            self.whole.replace(self.path)

    def close(self) -> None:
        """Closes what is open."""
        for descriptor in (self._descriptor, self._log):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._log = -1

    def discard(self) -> None:
        """What was fetched is not what it should be."""
        self.close()
        for path in (self.path, self._parts, self._journal, self.whole):
            path.unlink(missing_ok=True)
        self.done = set()


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
