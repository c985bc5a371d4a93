"""`http://` and `https://`: one file, often an archive. KServe's catch-all, and its rules of content types."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from modelport.storage import packed
from modelport.storage.failure import Changed, NoRange, StorageError
from modelport.storage.source import Context, Found, Listing, RemoteFile, Unchanged
from modelport.storage.transport import Answer, Transport, bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import last_segment

ZIP = ("application/zip", "application/x-zip-compressed", "application/zip-compressed")
TAR = (
    "application/x-tar",
    "application/x-gtar",
    "application/x-gzip",
    "application/gzip",
    "application/x-tgz",
)
PLAIN = ("application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")
PAGES = ("text/html", "application/xhtml+xml")


def resolve(uri: str, context: Context) -> Found:
    """Asks for the file. The answer to that question is the first read, so an unchanged or small file costs one."""
    name = last_segment(uri)
    query = urlsplit(uri).query
    if not packed.is_archive(name) and packed.is_archive(query):
        name = query.rpartition("/")[2].rpartition("=")[2]
    if not name:
        raise StorageError(
            "resolve", "the address names no file", "Give the model file's own address", reason="InvalidURI"
        )
    headers, credential = headers_for(uri, context)
    transport = transport_of(context)
    asked = {"If-None-Match": context.known.validator} if context.known and context.known.validator else {}
    answer = transport.open("GET", uri, asked, secret_headers=headers)
    if answer.status == 304:
        answer.close()
        return Unchanged()
    if answer.status != 200:
        answer.close()
        raise bad_status(answer, "resolve", credential)
    check_type(answer, name)
    source = _Source(transport, uri, headers, credential, answer)
    unzipped = name.lower().endswith(".gz") and not packed.is_archive(name)
    return Listing(
        files=(source.file(name),),
        origin=uri.partition("?")[0],
        credential=credential,
        validator=answer.header("ETag"),
        assemble=partial(_gunzip, context) if unzipped else None,
    )


def headers_for(uri: str, context: Context) -> tuple[dict[str, str], str]:
    """What to send to the URI's host: the headers of its Secret (KServe's `<host>-headers`), or its user and password."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    for name in (f"{parts.netloc.rpartition('@')[2]}-headers", f"{host}-headers"):
        text = context.credentials.get(name)
        if text is None:
            continue
        source = context.credentials.source(name)
        return parse_headers(text, source), source
    if parts.username:
        import base64

        pair = f"{parts.username}:{parts.password or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}, "the user named in the URI"
    return {}, ""


def parse_headers(text: str, source: str) -> dict[str, str]:
    """A JSON object, or lines of `Name: value`. Raises StorageError without showing a value."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and all(":" in line for line in lines):
            return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        found = None
    if not isinstance(found, dict):
        raise StorageError(
            "authenticate",
            f"the headers in {source} are neither a JSON object nor lines of `Name: value`",
            'Write them as {"Authorization": "Bearer …"}',
            reason="Unauthenticated",
        )
    return {str(name): str(value) for name, value in cast("dict[Any, Any]", found).items()}


def check_type(answer: Answer, name: str) -> None:
    """KServe's rule: what the server says it sends must fit the file's name. A login page is no model."""
    kind = answer.header("Content-Type").partition(";")[0].strip().lower()
    if kind in PAGES:
        raise StorageError(
            "read",
            f"the server sends a web page ({kind}), not a model",
            "It may be a login or a preview page: give the address of the file itself (often …?raw=true), or a "
            "credential",
            reason="Refused",
        )
    lower = name.lower()
    if lower.endswith(packed.ZIP_ENDINGS):
        expected: tuple[str, ...] = (*ZIP, *PLAIN)
    elif lower.endswith(packed.TAR_ENDINGS):
        expected = (*TAR, *PLAIN, "application/x-compressed-tar", "application/zstd", "application/x-bzip2")
    else:
        return
    if kind and kind not in expected:
        raise StorageError(
            "read",
            f"the server says that {name} is {kind}, and an archive is one of {', '.join(expected[:-1])}",
            "Correct the server's Content-Type, or the file's name",
            reason="Refused",
        )


class _Source:
    """Reads the file; the answer that is open already serves the first read from its beginning."""

    def __init__(
        self, transport: Transport, uri: str, headers: dict[str, str], credential: str, first: Answer
    ) -> None:
        self._transport = transport
        self._uri = uri
        self._headers = headers
        self._credential = credential
        self._first: Answer | None = first
        self._lock = threading.Lock()
        etag = first.header("ETag")
        self._strong = etag if etag and not etag.startswith("W/") else first.header("Last-Modified")
        self._etag = etag
        length = first.header("Content-Length")
        plain = first.header("Content-Encoding").lower() in ("", "identity")
        if not plain:
            first.close()
            raise StorageError(
                "read",
                f"the server compresses the file on the way ({first.header('Content-Encoding')}), though asked not to",
                "Turn that off for model files",
                reason="Refused",
            )
        self._size = int(length) if length.isdigit() else None
        self._ranged = "bytes" in first.header("Accept-Ranges").lower() and bool(self._strong)

    def file(self, name: str) -> RemoteFile:
        return RemoteFile(
            name,
            self.read,
            size=self._size,
            version=self._etag or (f"{self._strong} {self._size}" if self._strong else ""),
            ranged=self._ranged,
        )

    def read(self, start: int, stop: int | None) -> Iterator[bytes]:
        answer = self._take() if start == 0 else None
        if answer is None:
            answer = self._ask(start, stop)
        left = None if stop is None else stop - start
        try:
            for chunk in answer.chunks():
                if left is not None:
                    chunk = chunk[:left]
                    left -= len(chunk)
                yield chunk
                if left == 0:
                    return
        finally:
            answer.close()

    def _take(self) -> Answer | None:
        with self._lock:
            first, self._first = self._first, None
            return first

    def _ask(self, start: int, stop: int | None) -> Answer:
        headers: dict[str, str] = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if self._strong:
                headers["If-Range"] = self._strong
        answer = self._transport.open("GET", self._uri, headers, secret_headers=self._headers, step="read")
        if "Range" in headers and answer.status == 206:
            if answer.header("Content-Range").startswith(f"bytes {start}-"):
                return answer
            answer.close()
            raise NoRange
        if answer.status == 416:
            answer.close()
            raise Changed
        if answer.status != 200:
            answer.close()
            raise bad_status(answer, "read", self._credential)
        etag = answer.header("ETag")
        if (self._etag and etag != self._etag) or (
            not self._etag and self._strong and answer.header("Last-Modified") != self._strong
        ):
            answer.close()
            raise Changed
        if "Range" in headers:
            answer.close()
            raise NoRange
        return answer


def _gunzip(context: Context, folder: Path, files: dict[str, Path]) -> None:
    """`model.pkl.gz` becomes `model.pkl`, within the limits of archives."""
    from modelport.storage import archive

    for name, path in files.items():
        writer = archive.Writer(folder, archive.Budget(context.limits, path.stat().st_size, context.cancel))
        try:
            with gzip.open(path) as content:
                writer.file(name[: -len(".gz")], cast("IO[bytes]", content))
        except (OSError, EOFError, zlib.error) as error:
            raise StorageError(
                "unpack", f"{name} is not a whole gzip file ({error})", "Upload it again", reason="Corrupt"
            ) from error
