"""Making a model's folder in the cache, out of files that were fetched or unpacked."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path

import msgspec

from modelport.storage import cache as disk
from modelport.storage import clone, lock
from modelport.storage.cache import Cache, Tree, TreeFile
from modelport.storage.lock import Lock
from modelport.storage.space import writing


class Builder:
    """A model in the making. It is seen when it is published, whole, or never."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._folder = cache.trees / f".new-{os.getpid()}-{secrets.token_hex(8)}"
        self._model = self._folder / "model"
        self._files: list[TreeFile] = []
        self._links: list[tuple[str, str]] = []
        with writing(self._model):
            self._model.mkdir(parents=True, mode=0o755)
        self._made = {""}

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *_: object) -> None:
        clone.remove(self._folder)

    def reuse(self, path: str, sha256: str, executable: bool) -> bool:
        """Takes a file that the cache has; False where it has not."""
        blob = self._cache.blob(sha256, executable)
        place = self._place(path)
        with writing(place), self._cache.still_there():
            try:
                clone.share(blob, place, _mode(executable))
            except FileNotFoundError:
                return False
        self._note(path, place, sha256, executable)
        return True

    def take(self, path: str, source: Path, sha256: str, executable: bool) -> None:
        """Moves a file here, and into the cache's blobs."""
        if self.reuse(path, sha256, executable):
            source.unlink()
            return
        blob = self._cache.blob(sha256, executable)
        place = self._place(path)
        with writing(place):
            source.chmod(_mode(executable))
            with self._cache.still_there():
                blob.parent.mkdir(exist_ok=True, mode=0o700)
                with contextlib.suppress(OSError):  # without hard links there are no blobs, only models
                    os.link(source, blob)
                source.rename(place)
        self._note(path, place, sha256, executable)

    def take_folder(self, folder: Path, cancel: threading.Event) -> None:
        """Moves a folder's files and links here."""
        for parent, folders, files in os.walk(folder):
            for name in sorted(files + [name for name in folders if (Path(parent) / name).is_symlink()]):
                source = Path(parent) / name
                path = source.relative_to(folder).as_posix()
                if source.is_symlink():
                    self._place(path).symlink_to(source.readlink())
                    self._links.append((path, str(source.readlink())))
                else:
                    executable = bool(source.stat().st_mode & 0o100)
                    self.take(path, source, disk.sha256(source, cancel), executable)

    def publish(self) -> tuple[str, Tree, Lock]:
        """Gives the model its name, and holds it in the cache. Where it is there already, and well, that one stays."""
        tree = Tree(files=tuple(self._files), links=tuple(self._links), boot=disk.boot_id())
        digest = tree.digest
        target = self._cache.trees / disk.name_of(digest)
        lease = lock.acquire(self._cache.use / disk.name_of(digest), shared=True)
        with writing(target):
            disk.write(self._folder / "tree.json", msgspec.json.encode(tree))
            for parent, _, _ in os.walk(self._model):
                Path(parent).chmod(0o555)
            while True:
                try:
                    self._folder.rename(target)
                    return digest, tree, lease
                except OSError:
                    if not target.is_dir():
                        raise
                there = self._cache.healthy(digest)
                if there is not None:
                    return digest, there, lease

    def _place(self, path: str) -> Path:
        parent = path.rpartition("/")[0]
        if parent not in self._made:
            with writing(self._model / parent):
                (self._model / parent).mkdir(parents=True, exist_ok=True, mode=0o755)
            self._made.add(parent)
        return self._model / path

    def _note(self, path: str, place: Path, sha256: str, executable: bool) -> None:
        seen = place.stat()
        self._files.append(TreeFile(path, seen.st_size, sha256, executable, seen.st_mtime_ns))


def _mode(executable: bool) -> int:
    return 0o555 if executable else 0o444
