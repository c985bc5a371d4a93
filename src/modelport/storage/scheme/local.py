"""Paths of this machine and `file://`: used where they lie. Only an archive, or a choice of files, goes to the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from modelport.storage import packed
from modelport.storage.failure import StorageError
from modelport.storage.source import Context, Found, InPlace, Listing, RemoteFile

BLOCK = 1 << 20


def resolve(uri: str, context: Context) -> Found:
    """The path itself; a listing for what must not be used as it is."""
    return of_path(path_of(uri), context)


def path_of(uri: str) -> Path:
    """The path that a URI names. `file://` may be followed by a path as it is, or by an encoded one."""
    text = uri.removeprefix("file://") if uri.startswith("file://") else uri
    if uri.startswith("file://localhost/"):
        text = text.removeprefix("localhost")
    path = Path(text).expanduser()
    decoded = Path(unquote(text)).expanduser()
    return decoded if not path.exists() and decoded.exists() else path


def of_path(path: Path, context: Context) -> Found:
    """What to do with a path."""
    if not path.exists():
        above = next((parent for parent in path.absolute().parents if parent.exists()), path)
        raise StorageError(
            "resolve",
            "no such folder or file",
            f"{above} is the part of it that exists. Is it on this machine, and is it written right?",
            reason="NotFound",
        )
    try:
        whole = path.is_dir() and not any(path.iterdir())
    except PermissionError as error:
        raise StorageError(
            "read",
            f"{path} may not be read by this user",
            f"chmod or chown it: {error.strerror}",
            reason="PermissionDenied",
        ) from error
    if whole:
        raise StorageError(
            "list",
            f"there is no model: the folder {path} is empty",
            "Put the model's files there",
            reason="NotFound",
        )
    path = path.absolute()
    if path.is_file() and not packed.is_archive(path.name):
        return InPlace(path)
    if path.is_dir() and not context.patterns:
        return InPlace(path)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return Listing(
        files=tuple(
            _file(each, each.name if each == path else each.relative_to(path).as_posix()) for each in files
        ),
        origin=f"file:{path}",
    )


def _file(place: Path, path: str) -> RemoteFile:
    seen = place.stat()

    def read(start: int, stop: int | None) -> Iterator[bytes]:
        with place.open("rb") as file:
            file.seek(start)
            left = (seen.st_size if stop is None else stop) - start
            while left > 0 and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    return RemoteFile(
        path,
        read,
        size=seen.st_size,
        version=f"{seen.st_size}-{seen.st_mtime_ns}-{seen.st_ino}",
        executable=bool(seen.st_mode & 0o100),
    )
