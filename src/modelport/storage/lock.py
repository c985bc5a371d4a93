"""Locks between processes that a dead owner cannot keep: flock'd files."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from modelport.storage.failure import Cancelled

POLL_S = 0.05


class Lock:
    """A file that is locked. The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Lets go. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def attempt(path: Path, *, shared: bool = False) -> Lock | None:
    """The lock, if it can be had at once."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EINTR):
                return None
            raise
        if _same(descriptor, path):
            return Lock(path, descriptor)
        os.close(descriptor)  # somebody deleted the file between open and flock


def acquire(
    path: Path,
    *,
    shared: bool = False,
    cancel: threading.Event | None = None,
    waiting: Callable[[], None] | None = None,
) -> Lock:
    """The lock, however long it takes. `waiting` is called now and then meanwhile. Raises Cancelled."""
    event = cancel or threading.Event()
    while True:
        if event.is_set():
            raise Cancelled
        if (lock := attempt(path, shared=shared)) is not None:
            return lock
        if waiting is not None:
            waiting()
        event.wait(POLL_S)


def _same(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
