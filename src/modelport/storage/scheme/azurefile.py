"""`https://ACCOUNT.file.core.windows.net/SHARE/…`: an Azure file share, by its REST API.

There is no emulator of it that could be had: what it is tested against is a server of ours, which takes signatures
as Microsoft's own client makes them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from modelport.storage.credentials import Credentials
from modelport.storage.failure import Changed, NoRange, Step, StorageError
from modelport.storage.source import Chunk, Context, Found, Listing, RemoteFile
from modelport.storage.transport import Answer, bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import DEPTH, safe_path, too_deep

VERSION = "2022-11-02"
CODES = {
    "AuthenticationFailed": "does not accept the key or signature",
    "AuthorizationFailure": "does not let it read, or not from this address",
    "AuthorizationPermissionMismatch": "does not let it read",
    "KeyBasedAuthenticationNotPermitted": "has shared keys turned off",
    "InvalidAuthenticationInfo": "does not understand the key or signature",
    "AccountIsDisabled": "is disabled",
}
"""What `x-ms-error-code` says, after the account's name."""


def resolve(uri: str, context: Context) -> Found:
    """Lists the file or the files below the folder."""
    parts = urlsplit(uri)
    share, _, path = unquote(parts.path).strip("/").partition("/")
    if not share:
        raise StorageError(
            "resolve",
            "it names no share",
            "Write https://ACCOUNT.file.core.windows.net/SHARE/PATH",
            reason="InvalidURI",
        )
    given = context.credentials
    service = (given.get("AZURE_SERVICE_URL") or f"{parts.scheme}://{parts.netloc}").rstrip("/")
    account = (parts.hostname or "").partition(".")[0]
    client = _Client(service, account, _Who(parts.query, given, account), context)
    files = client.below(share, path, "", 0)
    if files is None:
        found = client.file(share, path, path.rpartition("/")[2]) if path else None
        files = [found] if found is not None else []
    return Listing(files=tuple(files), origin=f"{service}/{share}", credential=client.who.name)


class _Who:
    """A signature, or the account's key. Raises StorageError: a share is never public."""

    def __init__(self, query: str, given: Credentials, account: str) -> None:
        self.signature, self.key = "", b""
        if "sig=" in query:
            self.signature, self.name = query, "the signature in the URI"
        elif token := given.get("AZURE_STORAGE_SAS_TOKEN"):
            source = given.source("AZURE_STORAGE_SAS_TOKEN")
            self.signature, self.name = token.strip().lstrip("?"), f"the signature of {source}"
        elif key := given.get("AZURE_STORAGE_ACCESS_KEY"):
            self.name = f"the key of {given.source('AZURE_STORAGE_ACCESS_KEY')}"
            try:
                self.key = base64.b64decode(key.strip(), validate=True)
            except binascii.Error as error:
                raise StorageError(
                    "authenticate",
                    "AZURE_STORAGE_ACCESS_KEY is not base64, as keys of storage accounts are",
                    f"az storage account keys list --account-name {account} shows it",
                    reason="Unauthenticated",
                    credential=self.name,
                ) from error
        else:
            raise StorageError(
                "authenticate",
                "a file share is never public, and there is no credential for it",
                "Give AZURE_STORAGE_ACCESS_KEY, or a signature: AZURE_STORAGE_SAS_TOKEN",
                reason="Unauthenticated",
            )

    def headers(self, method: str, url: str, account: str, asked: str = "") -> dict[str, str]:
        """What proves who asks for `asked`, a range."""
        if not self.key:
            return {"x-ms-version": VERSION, **ranged(asked)}
        return signed(method, url, account, self.key, datetime.now(UTC), asked)


class _Client:
    def __init__(self, service: str, account: str, who: _Who, context: Context) -> None:
        self._service, self._account, self.who = service, account, who
        self._transport = transport_of(context)

    def below(self, share: str, path: str, name: str, depth: int) -> list[RemoteFile] | None:
        """Files of a folder; None where there is no such folder."""
        if depth > DEPTH:
            raise too_deep(path)
        files: list[RemoteFile] = []
        marker = ""
        while True:
            query = {"restype": "directory", "comp": "list"} | ({"marker": marker} if marker else {})
            url = self._url(share, path, query)
            headers = self.who.headers("GET", url, self._account)
            with self._transport.request("GET", url, secret_headers=headers, step="list") as answer:
                if answer.status == 404 and not name and _code(answer) != "ShareNotFound":
                    return None
                if answer.status != 200:
                    raise self._words(answer, "list", share, path)
                found = _parse(answer.text())
            for entry in found.iter("File"):
                title = entry.findtext("Name") or ""
                file = self.file(
                    share, f"{path}/{title}".strip("/"), safe_path(f"{name}/{title}".lstrip("/"))
                )
                files += [file] if file is not None else []
            for entry in found.iter("Directory"):
                title = entry.findtext("Name") or ""
                inside = safe_path(f"{name}/{title}".lstrip("/"))
                files += self.below(share, f"{path}/{title}".strip("/"), inside, depth + 1) or []
            before, marker = marker, found.findtext("NextMarker") or ""
            if not marker or marker == before:
                return files

    def file(self, share: str, path: str, name: str) -> RemoteFile | None:
        """One file, with its ETag, which a listing does not tell; None where there is none."""
        url = self._url(share, path, {})
        headers = self.who.headers("HEAD", url, self._account)
        with self._transport.request("HEAD", url, secret_headers=headers, step="list") as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise self._words(answer, "list", share, path)
            size, etag = int(answer.header("Content-Length") or 0), answer.header("ETag")

        def read(start: int, stop: int | None) -> Iterator[Chunk]:
            asked = f"bytes={start}-{'' if stop is None else stop - 1}" if start or stop is not None else ""
            sent = self.who.headers("GET", url, self._account, asked)
            answer = self._transport.open("GET", url, secret_headers=sent, step="read")
            try:
                if answer.status in (404, 416) or (
                    answer.status in (200, 206) and answer.header("ETag") != etag
                ):
                    raise Changed  # there is no If-Match here
                if answer.status not in (200, 206):
                    raise self._words(answer, "read", share, path)
                if asked and answer.status == 200:
                    raise NoRange
                yield from answer.chunks()
            finally:
                answer.close()

        return RemoteFile(safe_path(name), read, size=size, version=etag, ranged=bool(etag))

    def _url(self, share: str, path: str, query: dict[str, str]) -> str:
        pairs = [*query.items(), *parse_qsl(self.who.signature)]
        place = quote(f"/{share}/{path}".rstrip("/"))
        return f"{self._service}{place}" + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")

    def _words(self, answer: Answer, step: Step, share: str, path: str) -> StorageError:
        code = _code(answer)
        if code in CODES:
            return StorageError(
                "authenticate",
                f"the account {self._account} {CODES[code]} ({code})",
                "Check the credential's value, whether it has expired, and the account's network rules",
                reason="PermissionDenied" if code.startswith("Authorization") else "Unauthenticated",
                credential=self.who.name,
            )
        if code == "ShareNotFound":
            return StorageError(
                "list",
                f"the account {self._account} has no share {share}",
                f"az storage share list --account-name {self._account} shows those there are",
                reason="NotFound",
                credential=self.who.name,
            )
        return bad_status(answer, step, self.who.name, f"{share}/{path}")


def signed(method: str, url: str, account: str, key: bytes, now: datetime, asked: str = "") -> dict[str, str]:
    """Shared Key, as Azure's description has it, for a request without body; `asked` is the range that it wants."""
    parts = urlsplit(url)
    sent = {"x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": VERSION, **ranged(asked)}
    named = "\n".join(f"{name}:{value}" for name, value in sorted(sent.items()))
    query = "".join(f"\n{name}:{value}" for name, value in sorted(parse_qsl(parts.query)))
    unsent = "\n" * 11  # Content-Encoding to Range
    text = f"{method}\n{unsent}{named}\n/{account}{parts.path}{query}"
    mac = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return sent | {"Authorization": f"SharedKey {account}:{base64.b64encode(mac).decode()}"}


def ranged(asked: str) -> dict[str, str]:
    """A range in the header that a signature covers, as Microsoft's clients send it."""
    return {"x-ms-range": asked} if asked else {}


def _code(answer: Answer) -> str:
    return answer.header("x-ms-error-code")


def _parse(body: bytes) -> ET.Element:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise StorageError(
            "list", "the listing declares entities, which a store has no need of", reason="Refused"
        )
    try:
        return ET.fromstring(body)  # noqa: S314 (without a document type there are no entities)
    except ET.ParseError as error:
        raise StorageError(
            "list",
            f"the listing is not XML ({error})",
            "Does AZURE_SERVICE_URL, or a proxy, lead to a file share?",
        ) from error
