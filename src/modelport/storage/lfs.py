"""Git LFS: what a repository keeps elsewhere, and names by pointers. https://github.com/git-lfs/git-lfs/tree/main/docs

A pointer is a small text with the SHA-256 and size of the file that stands for it. A server's batch API says where
each may be had; they are then read as any other store's files are: in parallel, resumed, verified, and not at all
where the cache has them.
"""

from __future__ import annotations

import configparser
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from modelport.kube.part import mapping, objects
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.source import Chunk, RemoteFile
from modelport.storage.transport import Transport, bad_status
from modelport.storage.uri import redact

KIND = "application/vnd.git-lfs+json"
AT_ONCE = 100
"""Objects in one question, as in git-lfs itself."""
EARLY_S = 30.0
"""So long before it expires another address is asked for."""
LARGEST_POINTER = 1024
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-\S+ \S+\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_BEGIN = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Pointer:
    """A file that lies elsewhere."""

    path: str
    oid: str
    """Its SHA-256."""
    size: int
    executable: bool


def pointer(path: Path, shown: str) -> Pointer | None:
    """What a file of a checkout points at; None where it is a file itself. Raises StorageError for a damaged one."""
    seen = path.stat()
    if seen.st_size >= LARGEST_POINTER:
        return None
    content = path.read_bytes()
    if not content.startswith(_BEGIN):
        return None
    found = _POINTER.fullmatch(content)
    if found is None:
        raise StorageError(
            "read",
            f"{shown} is a pointer of Git LFS that is not understood",
            "git lfs fsck --pointers names what is wrong with it",
            reason="Unsupported",
        )
    return Pointer(shown, found[1].decode(), int(found[2]), bool(seen.st_mode & 0o100))


def named(folder: Path) -> str:
    """Where a checkout's .lfsconfig keeps large files; empty where it does not say."""
    try:
        return _configured((folder / ".lfsconfig").read_text())
    except (OSError, UnicodeDecodeError):
        return ""


def endpoint(named: str, url: str) -> str:
    """Where a repository's large files are asked for: what was named, else beside the repository."""
    if not named:
        return f"{url if url.endswith('.git') else f'{url}.git'}/info/lfs"
    if urlsplit(named).scheme not in ("http", "https"):
        raise StorageError(
            "resolve",
            f"its .lfsconfig keeps large files at {redact(named)}, which is no http address",
            "Name an https address under lfs.url",
            reason="Unsupported",
        )
    return named.rstrip("/")


def _configured(text: str) -> str:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except configparser.Error:
        return ""
    return (parser.get("lfs", "url", fallback="") or "").strip('" ')


class Server:
    """One repository's large files."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        authorization: Callable[[str], Mapping[str, str]],
        credential: str,
        ref: str,
    ) -> None:
        """`authorization` gives the headers that prove who asks to an address; none to a stranger's."""
        self._transport = transport
        self._url = url
        self._authorization = authorization
        self._credential = credential
        self._ref = ref
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, Mapping[str, str], float]] = {}

    def files(self, pointers: list[Pointer]) -> tuple[RemoteFile, ...]:
        """How to read what is pointed at. Raises StorageError where the server has not all of it."""
        for start in range(0, len(pointers), AT_ONCE):
            self._ask(pointers[start : start + AT_ONCE])
        return tuple(self._file(one) for one in pointers)

    def _file(self, one: Pointer) -> RemoteFile:
        def read(start: int, stop: int | None) -> Iterator[Chunk]:
            url, headers = self._address(one)
            return reader(
                self._transport,
                url,
                secret_headers=lambda: headers,
                credential=self._credential,
                name=one.path,
            )(start, stop)

        return RemoteFile(
            one.path, read, size=one.size, version=one.oid, sha256=one.oid, executable=one.executable
        )

    def _address(self, one: Pointer) -> tuple[str, Mapping[str, str]]:
        with self._lock:
            url, headers, until = self._known[one.oid]
            if time.monotonic() > until:
                self._ask([one])
                url, headers, _ = self._known[one.oid]
            return url, headers

    def _ask(self, pointers: list[Pointer]) -> None:
        question: dict[str, Any] = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": one.oid, "size": one.size} for one in pointers],
            "hash_algo": "sha256",
        }
        if self._ref:
            question["ref"] = {"name": self._ref}
        url = f"{self._url}/objects/batch"
        with self._transport.request(
            "POST",
            url,
            {"Accept": KIND, "Content-Type": KIND},
            secret_headers=self._authorization(url),
            body=json.dumps(question).encode(),
            step="list",
        ) as answer:
            if answer.status == 404:
                raise StorageError(
                    "list",
                    f"{pointers[0].path} is kept in Git LFS, and {urlsplit(url).netloc} has no server for that",
                    "Push the large files (git lfs push --all), or name their server in .lfsconfig",
                    reason="NotFound",
                )
            if answer.status != 200:
                raise bad_status(answer, "list", self._credential, f"{pointers[0].path}, kept in Git LFS,")
            found = mapping(json.loads(answer.text()))
        paths = {one.oid: one.path for one in pointers}
        for each in objects(found.get("objects")):
            oid = str(each.get("oid"))
            if oid in paths:
                self._known[oid] = self._action(paths.pop(oid), each)
        if paths:
            raise _missing(next(iter(paths.values())), "the server says nothing of it", self._credential)

    def _action(self, path: str, told: dict[str, Any]) -> tuple[str, Mapping[str, str], float]:
        error = mapping(told.get("error"))
        action = mapping(mapping(told.get("actions")).get("download"))
        url = str(action.get("href") or "")
        if error or not url:
            code, words = error.get("code", ""), str(error.get("message", "no address was given"))[:200]
            raise _missing(path, f"{code} {words}".strip(), self._credential)
        headers = {str(name): str(value) for name, value in mapping(action.get("header")).items()}
        named = any(name.lower() == "authorization" for name in headers)
        if not named and not told.get("authenticated"):
            headers = {**self._authorization(url), **headers}
        seconds = cast("Any", action.get("expires_in"))
        lasts = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 3600.0
        return url, headers, time.monotonic() + max(lasts - EARLY_S, lasts / 2)


def _missing(path: str, why: str, credential: str) -> StorageError:
    return StorageError(
        "list",
        f"{path} is kept in Git LFS, and its server does not give it: {why}",
        "Push the large files (git lfs push --all), and check the credential's rights",
        reason="NotFound",
        credential=credential,
    )
