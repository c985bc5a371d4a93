"""The same bytes in a second place, as cheaply as the file system allows: hard link, reflink, else a copy."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

FICLONE = 0x40049409
"""ioctl of Linux: share the other file's extents until one of them is written."""
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}


def share(source: Path, target: Path, mode: int) -> None:
    """A file that will only be read: a hard link where that works, else a copy. Raises FileExistsError, OSError."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        copy(source, target, mode)


def copy(source: Path, target: Path, mode: int) -> None:
    """A file of one's own: a reflink where that works, else its bytes."""
    with source.open("rb") as reader:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as writer:
            try:
                fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            except OSError:
                shutil.copyfileobj(reader, writer, 1 << 20)
            os.fchmod(writer.fileno(), mode)


def tree(source: Path, target: Path, *, own: bool) -> None:
    """A folder's files again below `target`: shared and read-only, or writable ones of one's own."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        _file(source, target, own=own)
        return
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_symlink():
            place.symlink_to(entry.readlink())
        elif entry.is_dir():
            tree(entry, place, own=own)
        else:
            _file(entry, place, own=own)


def _file(source: Path, target: Path, *, own: bool) -> None:
    executable = source.stat().st_mode & 0o111
    if own:
        copy(source, target, 0o755 if executable else 0o644)
    else:
        share(source, target, 0o555 if executable else 0o444)


def remove(path: Path) -> None:
    """Deletes a folder, read-only ones below it too."""
    if not path.is_symlink() and path.is_dir():
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
