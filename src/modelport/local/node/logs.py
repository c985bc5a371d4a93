"""Logs of running containers: when their lines were written, and no more of them than a limit.

Processes write their logs themselves, so that a log needs nobody who must live. The node hears of writes from the
kernel and notes the length (`wire/log.py` has the form); what is too old gives its disk space back in place, so the
writers notice nothing and no line is lost between an old file and a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import struct
from datetime import UTC, datetime
from pathlib import Path

from modelport.local.folder import write
from modelport.wire.log import Times, encode, times_file

log = logging.getLogger(__name__)
LIMIT_BYTES = 50 << 20
"""So much of a run's log is kept: Kubernetes' five files of 10 MiB."""
SLACK = 0.2
"""It may be larger by this part before it is cut."""
EVERY_S = 0.1
"""Times are written down at most so often, and are so exact."""
KEPT_RUNS = 2
_KEEP_SIZE, _PUNCH_HOLE = 0x1, 0x2
_NONBLOCK_CLOEXEC, _MODIFY, _ONESHOT = 0o2004000, 0x2, 0x80000000
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Tells when files are written to. One kernel object for all, for there are few."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._waiting: dict[int, asyncio.Event] = {}

    def arm(self, path: Path, event: asyncio.Event) -> int:
        """The next write sets the event. Raises OSError."""
        if self._descriptor < 0:
            self._descriptor = _checked(_libc.inotify_init1(_NONBLOCK_CLOEXEC))
            asyncio.get_running_loop().add_reader(self._descriptor, self._hear)
        found = _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), _MODIFY | _ONESHOT))
        self._waiting[found] = event
        return found

    def disarm(self, watch: int) -> None:
        """Nobody waits for it any more."""
        if self._waiting.pop(watch, None) is not None:
            _libc.inotify_rm_watch(self._descriptor, watch)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, 64 << 10)
            position = 0
            while position < len(data):
                number, _, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size + length
                event = self._waiting.pop(number, None)
                if event is not None:
                    event.set()


async def keep(watch: Watch, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Keeps a log's times and size, until cancelled: the run has ended, or the node does."""
    event, times = asyncio.Event(), Times(path)
    try:
        while True:
            armed = watch.arm(path, event)
            try:
                # After arming: what was written before it, also while no node ran, is noted here.
                if not note(path, times):
                    await event.wait()
                    event.clear()
                    note(path, times)
            finally:
                watch.disarm(armed)
            if times.last - times.begin > limit_bytes * (1 + SLACK):
                await asyncio.to_thread(cut, path, limit_bytes)
            await asyncio.sleep(EVERY_S)
    except FileNotFoundError:
        return  # the pod is gone
    except OSError as error:
        log.warning("%s: its times and size are not kept: %s", path, error)
    finally:
        with contextlib.suppress(OSError):
            note(path, times)


def note(path: Path, times: Times | None = None) -> bool:
    """Writes down how long a log is now; whether it has grown since the last time. Raises OSError."""
    state = path.stat()
    times = times or Times(path)
    times.refresh()
    if not state.st_size or (times.known and state.st_size == times.last):
        return False
    if state.st_size < times.last:
        times_file(path).unlink()  # somebody cut it short: it begins anew
        times.refresh()
    moment = min(datetime.now(UTC), datetime.fromtimestamp(state.st_mtime_ns / 1e9, UTC))
    if times.moment is not None:
        moment = max(moment, times.moment)  # clocks are set back now and then
    first = b"" if times.known else encode(moment, 0)
    with times_file(path).open("ab") as file:
        file.write(first + encode(moment, state.st_size))
    times.refresh()
    return True


def cut(path: Path, limit_bytes: int) -> None:
    """Gives back the disk space of all but a log's last bytes; it begins with a whole line then. Raises OSError."""
    times = Times(path)
    times.refresh()
    with path.open("rb+") as file:
        file.seek(max(times.begin, file.seek(0, 2) - limit_bytes))
        file.readline(limit_bytes)
        begin = file.tell()
        # First the word, then the deed: a reader that sees zeros finds that it is behind.
        write(times_file(path), times.kept_from(begin))
        done = _libc.fallocate(
            file.fileno(), _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(begin)
        )
        if done == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(path))
        # This file system knows no holes: all that is left is to begin anew.
        times_file(path).unlink(missing_ok=True)
        os.ftruncate(file.fileno(), 0)


def forget(folder: Path, run: int) -> None:
    """Removes the logs of runs before the last one, as a container starts its next."""
    for path in folder.glob("*.log"):
        if path.stem.isdecimal() and int(path.stem) <= run - KEPT_RUNS:
            path.unlink(missing_ok=True)
            times_file(path).unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Adds a line of the node's own to a log, with its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text + "\n")
    note(path)


def tail(path: Path, lines: int, limit: int = 64 << 10) -> str:
    """The last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - limit))
        return "\n".join(file.read().decode(errors="replace").strip("\0").splitlines()[-lines:])


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
