"""A platform in one file: its objects, its addresses, certificates and tokens. Taken while it runs, put back while it does not.

A gzipped tar: `backup.json` (what it is), then the files by their names in the platform's folder. Models, their cache,
Python environments and logs are not in it: they are fetched and made again.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from modelport.local.apiserver import high_water, state_file
from modelport.local.apiserver.state_file import Contents, StoreError
from modelport.local.folder import Folder

FORMAT = 1
MANIFEST = "backup.json"
STATE = "state.db"
ACCESS = ("platform.json", "tokens.json", "kubeconfig", "kubeconfig-edit", "kubeconfig-view", "api-keys")
"""What clients know the platform by, and it them, beside the folder `pki`. Without the file of keys it would let
everybody in."""
CHUNK_BYTES = 1 << 20
TAR_MAGIC = b"\x1f\x8b"


class BackupError(Exception):
    """The backup cannot be written or read. The message says where, why and what to do."""


class Manifest(msgspec.Struct, kw_only=True, rename="camel"):
    """What a backup is."""

    format: int
    modelport: str
    """The version that wrote it."""
    taken_at: str
    state: Contents
    sha256: dict[str, str]
    """Of each file."""


def save(
    folder: Folder, target: Path, version: str, *, volumes: bool = False, now: datetime | None = None
) -> Manifest:
    """Writes a backup; `target` is the old file or the new one, whole. BackupError.

    `volumes`: also what PersistentVolumeClaims hold.
    """
    if not folder.database.exists():
        raise BackupError(f"{folder.path}: no platform here, so that there is nothing to back up")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
            state = Path(work) / STATE
            held = state_file.copy(folder.database, state)
            found = [(STATE, state), *_access(folder)]
            if volumes:
                found += _tree(folder.volumes, folder.path)
            manifest = Manifest(
                format=FORMAT,
                modelport=version,
                taken_at=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
                state=held,
                sha256={
                    name: _digest(path) for name, path in found if path.is_file() and not path.is_symlink()
                },
            )
            part = Path(work) / "backup"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
                _add_bytes(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
                for name, path in found:
                    archive.add(path, name, recursive=False)
            state_file.sync(part)
            part.replace(target)
            state_file.sync(target)
    except StoreError as error:
        raise BackupError(str(error)) from error
    except OSError as error:
        raise BackupError(
            f"{target}: cannot be written: {error.strerror or error}. Choose another place, or free space there."
        ) from error
    return manifest


def restore(
    folder: Folder, source: Path, *, objects_only: bool = False, force: bool = False
) -> Manifest | Contents:
    """Puts a backup, or a copy of the state alone, where a stopped platform is, or will be. BackupError.

    What lay there is moved to `replaced-TIME/`, which only `force` allows. `objects_only`: leave addresses,
    certificates and tokens as they are, or to be made anew.
    """
    try:
        with source.open("rb") as file:
            packed = file.read(2) == TAR_MAGIC
        folder.make()
        held = state_file.lock(folder.database)
    except OSError as error:
        raise BackupError(f"{error.filename or source}: {error.strerror}") from error
    except StoreError as error:
        raise BackupError(f"{error} Stop the platform: modelport down --dir {folder.path}") from error
    try:
        if folder.database.exists() and not force:
            raise BackupError(
                f"{folder.path}: a platform's state is here already. --force puts it aside; or choose another folder "
                "with --dir."
            )
        with tempfile.TemporaryDirectory(dir=folder.path, prefix=".restore.") as work:
            if packed:
                manifest = _unpack(source, Path(work))
            else:
                manifest = state_file.contents(source)
                shutil.copyfile(source, Path(work) / STATE)
                (Path(work) / STATE).chmod(0o600)
            state_file.contents(Path(work) / STATE)
            state_file.leap(Path(work) / STATE, high_water.read(folder.database))
            _put(folder, Path(work), state_alone=objects_only)
    except StoreError as error:
        words = str(error).partition(": ")[2] or str(error)  # without a temporary path
        raise BackupError(f"{source}: {words}") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source}: cannot be restored: {error}. Nothing was replaced.") from error
    finally:
        os.close(held)
    return manifest


def _access(folder: Folder) -> Iterator[tuple[str, Path]]:
    names = [*ACCESS, *(f"pki/{path.name}" for path in sorted(folder.pki.glob("*")))]
    return ((name, folder.path / name) for name in names if (folder.path / name).is_file())


def _tree(top: Path, base: Path) -> list[tuple[str, Path]]:
    return [(str(path.relative_to(base)), path) for path in sorted(top.rglob("*"))]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    archive.addfile(info, io.BytesIO(content))


def _unpack(source: Path, work: Path) -> Manifest:
    """The backup's files below `work`, each what it was. BackupError."""
    with tarfile.open(source, "r:gz") as archive:
        first = archive.next()
        content = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
        if content is None:
            raise BackupError(
                f"{source}: is no backup of a modelport platform: {MANIFEST} is not its first file"
            )
        try:
            manifest = msgspec.json.decode(content.read(), type=Manifest)
        except msgspec.DecodeError as error:
            raise BackupError(f"{source}: {MANIFEST}: {error}") from error
        if manifest.format > FORMAT:
            raise BackupError(
                f"{source}: was written by a newer modelport ({manifest.modelport}). Use that version."
            )
        # No paths that leave the folder, no devices, no links out of it.
        archive.extractall(work, filter="data")
    for name, digest in manifest.sha256.items():
        path = work / name
        if not path.is_file() or _digest(path) != digest:
            raise BackupError(f"{source}: {name} in it is not what was backed up: the file is damaged")
    if STATE not in manifest.sha256:
        raise BackupError(f"{source}: has no {STATE} in it")
    return manifest


def _put(folder: Folder, work: Path, *, state_alone: bool) -> None:
    aside = folder.path / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    found = [path.relative_to(work) for path in sorted(work.rglob("*")) if not path.is_dir()]
    keep = ("volumes",) if state_alone else ("volumes", "pki", *ACCESS)
    names = [name for name in found if name.name == STATE or name.parts[0] in keep]
    beside = [Path(f"{STATE}-wal"), Path(f"{STATE}-shm"), high_water.place(Path(STATE))]
    for name in [*names, *beside]:
        old = folder.path / name
        if old.exists() or old.is_symlink():
            (aside / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            old.replace(aside / name)
    # The state comes last: until then the folder has none, which says that it is not whole.
    for name in sorted(names, key=lambda one: one.name == STATE):
        if name.name == MANIFEST:
            continue
        target = folder.path / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (work / name).replace(target)
        if target.is_file() and name.parts[0] != "volumes":
            target.chmod(0o600 if name.suffix != ".pem" else 0o644)
    state_file.sync(folder.database)
