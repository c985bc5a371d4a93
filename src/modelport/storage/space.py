"""The local disk: its errors in words, and how much is left of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from modelport.storage.failure import StorageError


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turns the disk's errors into words."""
    try:
        yield
    except OSError as error:
        raise disk(error, path) from error


def disk(error: OSError, path: Path) -> StorageError:
    """What went wrong with the local disk, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk" if error.errno == errno.ENOSPC else "this user's quota"
        return StorageError(
            "write",
            f"{what} that holds {path} is full",
            "Free some space (modelport storage prune drops unused models), or keep the cache on a larger disk",
            reason="NoSpace",
        )
    if error.errno == errno.EFBIG:
        return StorageError(
            "write", f"{path}: the file would be larger than this process may write", "Raise ulimit -f"
        )
    return StorageError(
        "write",
        f"{path}: {error.strerror or error}",
        "Check the folder's owner and mode, and whether the disk is well",
    )


def free(path: Path) -> int:
    """Bytes that this user may still write there."""
    there = os.statvfs(path)
    return there.f_bavail * there.f_frsize


def short(path: Path, needed: int) -> StorageError:
    """The model does not fit."""
    return StorageError(
        "write",
        f"the model needs {size(needed)} and the disk that holds {path} has {size(free(path))} left",
        "Free some space (modelport storage prune drops unused models), or keep the cache on a larger disk",
        reason="NoSpace",
    )


def size(count: float) -> str:
    """Bytes as people read them: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
