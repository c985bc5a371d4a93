"""Fetching a model's files: in parallel, large ones in parts, with bounded memory, resumed where an earlier try ended."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial as partial_of
from itertools import chain
from pathlib import Path

from modelport.storage import cache as disk
from modelport.storage import pace
from modelport.storage.failure import Cancelled, Changed, NoRange, StorageError, transient
from modelport.storage.partial import BLOCK, PART, Partial
from modelport.storage.progress import Reporter
from modelport.storage.retry import Budget
from modelport.storage.source import Chunk, RemoteFile
from modelport.storage.space import disk as disk_error
from modelport.storage.space import writing

HASHED = 256 << 10
"""Bytes that are read back at once, for the digest."""
TICK_S = 0.1
MISMATCHES = 2
"""A file with the wrong digest is fetched anew once: a proxy may have spoilt it."""

Job = Callable[[], None]


class Download:
    """One try to fetch files into a folder."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[RemoteFile],
        origin: str,
        *,
        budget: Budget,
        reporter: Reporter,
        cancel: threading.Event,
        most: int = pace.MOST,
    ) -> None:
        self.partials = [Partial(folder, file, origin) for file in files]
        """Each file, where it lies (`path`), and after `run` its digest."""
        self._budget = budget
        self._reporter = reporter
        self._cancel = cancel
        self._stop = threading.Event()
        self._condition = threading.Condition()
        self._again: deque[Job] = deque()
        self._jobs: Iterator[Job] = iter(())
        self._unhashed: deque[tuple[Partial, bool]] = deque()
        self._waiting = len(files)
        self._error: BaseException | None = None
        self._mismatches: dict[str, int] = {}
        self._most = most
        self.threads: list[threading.Thread] = []

    def run(self, tick: Callable[[], None]) -> None:
        """Fetches all. `tick` is called ten times a second on this thread. Raises StorageError, Changed, Cancelled.

        It may return, by an exception, before the last worker has noticed: wait for `threads` before anybody else
        writes into the folder.
        """
        self._jobs = self._plan()
        whole = sum(not partial.in_parts for partial in self.partials)
        parts = sum(-(-partial.count * BLOCK // PART) for partial in self.partials if partial.in_parts)
        rate = pace.Pace(whole, parts, self._most)
        self._spawn([self._work] * rate.workers + [self._hash])
        try:
            with self._condition:
                while self._waiting and self._error is None:
                    self._condition.wait(TICK_S)
                    if self._cancel.is_set():
                        raise Cancelled
                    more = rate.observe(self._reporter.now.bytes_done, time.monotonic())
                    self._spawn([self._work] * more)
                    tick()
            if self._error is not None:
                raise self._error
        finally:
            self._stop.set()
            with self._condition:
                self._condition.notify_all()

    def _plan(self) -> Iterator[Job]:
        """What there is to do, one job after the other, small files first."""
        done = 0
        whole: list[Partial] = []
        parts: list[Partial] = []
        for partial in self.partials:
            if partial.complete():
                done += partial.path.stat().st_size
                self._unhashed.append((partial, False))
            elif partial.in_parts:
                partial.resume()
                done += partial.there()
                self._unhashed.append((partial, True))
                parts.append(partial)
            else:
                whole.append(partial)
        now = self._reporter.now
        total = sum(partial.file.size or 0 for partial in self.partials)
        known = all(partial.file.size is not None for partial in self.partials)
        self._reporter.set(
            done=now.bytes_done + done,
            total=(now.bytes_done + total) if known else None,
            cached=now.bytes_cached + done,
            files_done=now.files_done,
            files_total=now.files_done + len(self.partials),
        )
        return chain(
            (partial_of(self._whole, partial) for partial in whole),
            (partial_of(self._part, partial, *stretch) for partial in parts for stretch in partial.missing()),
        )

    def _spawn(self, targets: list[Callable[[], None]]) -> None:
        for target in targets:
            thread = threading.Thread(target=self._guarded, args=(target,), name="fetch", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 (told to the caller's thread)
            if isinstance(error, OSError):
                error = disk_error(error, self.partials[0].path.parent)
            elif isinstance(error, Exception) and not isinstance(error, StorageError | Changed | Cancelled):
                told = StorageError("read", f"{type(error).__name__}: {error}")
                told.__cause__ = error
                error = told
            with self._condition:
                self._error = self._error or error
                self._stop.set()
                self._condition.notify_all()

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._condition:
                job = self._again.popleft() if self._again else next(self._jobs, None)
                if job is None:
                    if not self._waiting:
                        return
                    self._condition.wait(TICK_S)
                    continue
            job()

    def _part(self, partial: Partial, offset: int, stop: int) -> None:
        if not partial.in_parts:
            return
        marked = offset
        while not self._stop.is_set():
            try:
                with _opened(partial.file, offset, stop) as chunks, partial.writer() as out:
                    for chunk in chunks:
                        out.write(chunk[: stop - offset], offset)
                        offset += min(len(chunk), stop - offset)
                        self._count(len(chunk))
                        if out.mark(marked, offset):
                            marked = offset // BLOCK * BLOCK
                            with self._condition:
                                self._condition.notify_all()
                        del chunk  # before the next one comes: a worker holds one
                        if self._stop.is_set():
                            return
                if offset < stop:
                    raise transient(
                        "read", f"{partial.file.path}: the connection ended {stop - offset} bytes early"
                    )
                return
            except NoRange:
                self._without_parts(partial)
                return
            except StorageError as error:
                self._budget.failed(error, self._stop)

    def _without_parts(self, partial: Partial) -> None:
        """The server sends whole files only, whatever it said: read it in one go, by one worker."""
        with self._condition:
            if not partial.in_parts:
                return
            partial.file = _unranged(partial.file)
            self._again.append(lambda: self._whole(partial))

    def _whole(self, partial: Partial) -> None:
        file = partial.file
        digest = hashlib.sha256()
        offset = 0
        place = partial.whole
        with writing(place):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as out:
            while not self._stop.is_set():
                try:
                    with _opened(file, offset, None) as chunks:
                        for chunk in chunks:
                            with writing(place):
                                _write_all(out.fileno(), chunk)
                            digest.update(chunk)
                            offset += len(chunk)
                            self._count(len(chunk))
                            del chunk
                            if self._stop.is_set():
                                return
                    if file.size is not None and offset != file.size:
                        raise transient(
                            "read", f"{file.path}: {offset} bytes came, {file.size} were announced"
                        )
                    break
                except (NoRange, StorageError) as error:
                    if isinstance(error, StorageError):
                        self._budget.failed(error, self._stop)
                    if isinstance(error, NoRange) or not file.ranged or offset > (file.size or offset):
                        file = partial.file = _unranged(file)
                        self._reporter.add(-offset)
                        offset, digest = 0, hashlib.sha256()
                        out.seek(0)
                        out.truncate()
            else:
                return
        partial.finish_whole()
        self._settle(partial, digest.hexdigest())

    def _hash(self) -> None:
        """Digests files while their parts come in, in order, reading back what was just written."""
        buffer = bytearray(HASHED)
        while self._unhashed and not self._stop.is_set():
            partial, in_parts = self._unhashed.popleft()
            if not in_parts:
                self._settle(partial, disk.sha256(partial.path, self._stop))
            elif (digest := self._hash_parts(partial, buffer)) is not None:
                partial.finish_parts()
                self._settle(partial, digest)

    def _hash_parts(self, partial: Partial, buffer: bytearray) -> str | None:
        digest = hashlib.sha256()
        view = memoryview(buffer)
        with partial.reader() as file:
            for block in range(partial.count):
                with self._condition:
                    while not (partial.in_parts and partial.done[block]):
                        if not partial.in_parts or self._stop.is_set():
                            return None
                        self._condition.wait(TICK_S)
                offset, stop = partial.extent(block)
                while offset < stop:
                    count = file.readinto(view[: stop - offset])
                    if not count:
                        raise transient("read", f"{partial.file.path}: what was written is no longer there")
                    digest.update(view[:count])
                    offset += count
                    if self._stop.is_set():
                        return None
        return digest.hexdigest()

    def _settle(self, partial: Partial, digest: str) -> None:
        """A file is complete; it must be what the store says it is."""
        expected = partial.file.sha256
        if expected is not None and digest != expected:
            tries = self._mismatches[partial.file.path] = self._mismatches.get(partial.file.path, 0) + 1
            size = partial.path.stat().st_size
            partial.discard()
            if tries >= MISMATCHES:
                raise StorageError(
                    "verify",
                    f"{partial.file.path}: its SHA-256 should be {expected}, and what came has {digest}, twice",
                    "The store is damaged, or something in between changes the file",
                    reason="Corrupt",
                )
            self._reporter.add(-size)
            partial.file = _unranged(partial.file)
            with self._condition:
                self._again.append(lambda: self._whole(partial))
                self._condition.notify_all()
            return
        self._reporter.file_done()
        with self._condition:
            partial.sha256 = digest
            self._waiting -= 1
            self._condition.notify_all()

    def _count(self, count: int) -> None:
        self._reporter.add(count)
        self._budget.worked(count)


@contextmanager
def _opened(file: RemoteFile, start: int, stop: int | None) -> Generator[Iterator[Chunk]]:
    """Bytes of a file; the connection is free afterwards, where its iterator has one."""
    chunks = file.read(start, stop)
    try:
        yield chunks
    finally:
        close: Callable[[], None] | None = getattr(chunks, "close", None)
        if close is not None:
            close()


def _unranged(file: RemoteFile) -> RemoteFile:
    return replace(file, ranged=False)


def _write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    while len(chunk):
        chunk = memoryview(chunk)[os.write(descriptor, chunk) :]
