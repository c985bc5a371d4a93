"""Unpacking archives that nobody vouches for: inside the folder, regular files only, within limits."""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import os
import stat
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from modelport.storage import clone
from modelport.storage.failure import Cancelled, StorageError
from modelport.storage.packed import ZIP_ENDINGS, Limits
from modelport.storage.space import writing

BLOCK = 1 << 20
RATIO_FLOOR = 256 << 20
"""The ratio is judged beyond so many unpacked bytes: small archives of zeros harm nobody."""


class Budget:
    """Counts what an archive has become so far."""

    def __init__(self, limits: Limits, packed: int, cancel: threading.Event) -> None:
        self._limits = limits
        self._packed = max(packed, 1)
        self._cancel = cancel
        self._bytes = 0
        self._files = 0

    def file(self) -> None:
        """One more member."""
        self._files += 1
        if self._files > self._limits.files:
            raise bomb(f"it has more than {self._limits.files} members")

    def add(self, count: int) -> None:
        """So many more bytes."""
        if self._cancel.is_set():
            raise Cancelled
        self._bytes += count
        if self._bytes > self._limits.bytes:
            raise bomb(f"it unpacks to more than {self._limits.bytes} bytes")
        if self._bytes > RATIO_FLOOR and self._bytes > self._packed * self._limits.ratio:
            raise bomb(f"it unpacks to more than {self._limits.ratio} times its size")


def bomb(problem: str) -> StorageError:
    """An archive that goes beyond a limit."""
    return StorageError(
        "unpack",
        f"{problem}, which is the limit",
        "If you trust it, unpack it yourself and give the folder, or raise the limit",
        reason="Refused",
    )


def refused(name: str, why: str) -> StorageError:
    """A member that must not be written."""
    return StorageError(
        "unpack",
        f"the member {name!r} {why}",
        "Nothing was unpacked. Pack the model's files alone, with relative paths",
        reason="Refused",
    )


def unpack(archive: Path, name: str, folder: Path, limits: Limits, cancel: threading.Event) -> None:
    """Unpacks a tar or zip file, told apart by its name, into an empty folder. Raises StorageError."""
    budget = Budget(limits, archive.stat().st_size, cancel)
    writer = Writer(folder, budget)
    with telling(name):
        if name.lower().endswith(ZIP_ENDINGS):
            with zipfile.ZipFile(archive) as zipped:
                _unzip(zipped, writer)
        else:
            with archive.open("rb") as file:
                untar(file, writer)
        writer.finish()


@contextmanager
def telling(name: str) -> Generator[None]:
    """Turns what the libraries say about a damaged archive into words."""
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        UnicodeError,
        NotImplementedError,
        ValueError,
    ) as error:
        raise StorageError(
            "unpack",
            f"{name} is not a whole archive of the kind that its name says ({type(error).__name__}: {error})",
            "Try it with tar or unzip, and upload it again",
            reason="Corrupt",
        ) from error


class Writer:
    """Puts members into a folder. While files are written there are no links in it, so none can lead out."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._folder = folder
        self.budget = budget
        self._links: dict[str, str] = {}
        self._made: set[str] = set()

    def path(self, name: str) -> str | None:
        """A member's path inside the folder; None for the folder itself. Raises where it lies outside."""
        if "\0" in name or "\\" in name:
            raise refused(name, "has a character in its name that paths do not have")
        pure = PurePosixPath(name)
        if pure.is_absolute():
            raise refused(name, "has an absolute path")
        if ".." in pure.parts:
            raise refused(name, "leads out of the model's folder")
        return str(pure) if pure.parts else None

    def folder(self, name: str) -> None:
        """A folder."""
        if (path := self.path(name)) is not None:
            self._parents(path + "/")

    def file(self, name: str, content: IO[bytes], *, executable: bool = False) -> None:
        """A file. One that comes twice is the later one, as tar has it."""
        path = self.path(name)
        if path is None:
            raise refused(name, "has no name")
        self.budget.file()
        self._parents(path)
        self._links.pop(path, None)
        place = self._folder / path
        with writing(place):
            if place.is_dir():
                raise refused(name, "is a file where a folder of the same name is")
            place.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(place, flags, 0o700 if executable else 0o600)
        with os.fdopen(descriptor, "wb") as out:
            while block := content.read(BLOCK):
                self.budget.add(len(block))
                with writing(place):
                    out.write(block)
            with writing(place):
                out.flush()

    def hard_link(self, name: str, target: str) -> None:
        """A second name of a file that came before: a copy of it, since names may go different ways later."""
        source = self.path(target)
        if source is None or source in self._links or not (self._folder / source).is_file():
            raise refused(name, f"is a link to {target!r}, which is not a file of this archive before it")
        with (self._folder / source).open("rb") as content:
            self.file(name, content, executable=bool((self._folder / source).stat().st_mode & 0o100))

    def symbolic_link(self, name: str, target: str) -> None:
        """A symbolic link; made at the end, once all are known."""
        path = self.path(name)
        if path is None:
            raise refused(name, "has no name")
        self.budget.file()
        if not target or target.startswith("/") or "\0" in target:
            raise refused(name, f"is a link to {target!r}, outside the model's folder")
        if (self._folder / path).exists():
            raise refused(name, "is a link where a file of the same name is")
        self._links[path] = target

    def remove(self, name: str, *, children: bool = False) -> None:
        """Takes back what came before under this name: an image's later layer says that it is gone."""
        path = self.path(name)
        if path is None and not children:
            return
        place = self._folder / path if path is not None else self._folder
        inside = "" if path is None else f"{path}/"
        for link in [link for link in self._links if link == path or link.startswith(inside)]:
            del self._links[link]
        for each in list(place.iterdir()) if children and place.is_dir() else [place]:
            clone.remove(each)
        self._made = {made for made in self._made if made != path and not made.startswith(inside)}

    def finish(self) -> None:
        """Makes the links, and refuses those that lead out, also by way of others."""
        for path, target in self._links.items():
            self._parents(path)
            with writing(self._folder / path):
                (self._folder / path).symlink_to(target)
        root = self._folder.resolve()
        for path, target in self._links.items():
            try:
                inside = (self._folder / path).resolve().is_relative_to(root)
            except (OSError, RuntimeError) as error:
                raise refused(path, f"is a link to {target!r} that goes round in a circle") from error
            if not inside:
                raise refused(path, f"is a link to {target!r}, outside the model's folder")

    def _parents(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if not folder or folder in self._made:
            return
        parts = folder.split("/")
        for depth in range(1, len(parts) + 1):
            above = "/".join(parts[:depth])
            if above in self._made:
                continue
            if above in self._links:
                raise refused(path, f"lies behind {above!r}, which is a link")
            place = self._folder / above
            with writing(place):
                if not place.is_dir():
                    if place.exists():
                        raise refused(path, f"lies below {above!r}, which is a file")
                    place.mkdir(mode=0o700)
            self._made.add(above)


def untar(
    file: IO[bytes],
    writer: Writer,
    rename: Callable[[str], str | None] = lambda name: name,
    retarget: Callable[[str, str], str] = lambda path, target: target,
) -> None:
    """Members of a tar file, compressed or not.

    `rename` gives each its path, or None to leave it out; `retarget` a symbolic link of some path its target.
    """
    with decompressed(file) as plain, tarfile.open(fileobj=cast("Any", plain), mode="r|") as archive:
        for member in archive:
            name = rename(member.name)
            if name is None:
                continue
            if member.isdir():
                writer.budget.file()
                writer.folder(name)
            elif member.issym():
                writer.symbolic_link(name, retarget(name, member.linkname))
            elif member.islnk():
                target = rename(member.linkname)
                writer.hard_link(name, target if target is not None else member.linkname)
            elif member.isreg():
                content = archive.extractfile(member)
                if content is None:
                    raise refused(member.name, "has no content")
                writer.file(name, content, executable=bool(member.mode & 0o100))
            else:
                raise refused(member.name, "is a device, a pipe or another thing that is no file")


def _unzip(zipped: zipfile.ZipFile, writer: Writer) -> None:
    for member in zipped.infolist():
        mode = member.external_attr >> 16
        if member.flag_bits & 1:
            raise StorageError(
                "unpack",
                f"{member.filename} is encrypted",
                "Pack it without a password",
                reason="Unsupported",
            )
        if member.is_dir():
            writer.budget.file()
            writer.folder(member.filename)
        elif stat.S_ISLNK(mode):
            if member.file_size > 4096:
                raise refused(member.filename, "is a link with a target longer than a path")
            writer.symbolic_link(member.filename, zipped.read(member).decode())
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise refused(member.filename, "is a device, a pipe or another thing that is no file")
        else:
            with zipped.open(member) as content:
                writer.file(member.filename, content, executable=bool(mode & 0o100))


@contextmanager
def decompressed(file: IO[bytes]) -> Generator[IO[bytes]]:
    """A file without the compression that its first bytes tell of: gzip, bzip2, xz, zstd, or none."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=file) as plain:
            yield cast("IO[bytes]", plain)
    elif head.startswith(b"BZh"):
        with bz2.BZ2File(file) as plain:
            yield plain
    elif head.startswith(b"\xfd7zXZ\x00"):
        with lzma.LZMAFile(file) as plain:
            yield cast("IO[bytes]", plain)
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        with _zstd(file) as plain:
            yield plain
    else:
        yield file


def _zstd(file: IO[bytes]) -> Any:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        library: Any = importlib.import_module(name)
    except ImportError as error:
        raise StorageError(
            "unpack",
            "it is compressed with zstd, and no library for that is installed",
            "Run: pip install backports.zstd",
            reason="Unsupported",
        ) from error
    return library.ZstdFile(file)
