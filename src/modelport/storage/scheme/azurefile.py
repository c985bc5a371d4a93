"""`https://ACCOUNT.file.core.windows.net/SHARE/…`: an Azure file share, by its REST API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import safe_path

VERSION = "2022-11-02"


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
    account = (parts.hostname or "").partition(".")[0]
    signature = (
        parts.query if "sig=" in parts.query else (given.get("AZURE_STORAGE_SAS_TOKEN") or "").lstrip("?")
    )
    key = given.get("AZURE_STORAGE_ACCESS_KEY") if not signature else None
    credential = (
        "the signature in the URI or AZURE_STORAGE_SAS_TOKEN"
        if signature
        else f"the key of {given.source('AZURE_STORAGE_ACCESS_KEY')}" if key else ""
    )  # fmt: skip
    service = (given.get("AZURE_SERVICE_URL") or f"{parts.scheme}://{parts.netloc}").rstrip("/")
    client = _Client(service, account, key, signature, credential, context)
    files = client.below(share, path, "")
    if files is None:
        found = client.file(share, path, path.rpartition("/")[2])
        files = [found] if found is not None else []
    return Listing(files=tuple(files), origin=f"{service}/{share}", credential=credential)


class _Client:
    def __init__(
        self, service: str, account: str, key: str | None, signature: str, credential: str, context: Context
    ) -> None:
        self._service, self._account, self._key = service, account, key
        self._signature, self._credential = signature, credential
        self._transport = transport_of(context)

    def below(self, share: str, path: str, name: str) -> list[RemoteFile] | None:
        """Files of a folder; None where there is no such folder."""
        files: list[RemoteFile] = []
        marker = ""
        while True:
            query = {"restype": "directory", "comp": "list"} | ({"marker": marker} if marker else {})
            url = self._url(share, path, query)
            with self._transport.request(
                "GET", url, secret_headers=self._headers(url), step="list"
            ) as answer:
                if answer.status == 404 and not name:
                    return None
                if answer.status != 200:
                    raise bad_status(answer, "list", self._credential, f"{share}/{path}")
                found = _parse(answer.text())
            for entry in found.iter("File"):
                title = entry.findtext("Name") or ""
                file = self.file(share, f"{path}/{title}".strip("/"), f"{name}/{title}".lstrip("/"))
                files += [file] if file is not None else []
            for entry in found.iter("Directory"):
                title = entry.findtext("Name") or ""
                files += self.below(share, f"{path}/{title}".strip("/"), f"{name}/{title}".lstrip("/")) or []
            marker = found.findtext("NextMarker") or ""
            if not marker:
                return files

    def file(self, share: str, path: str, name: str) -> RemoteFile | None:
        """One file, with its ETag, which a listing does not tell; None where there is none."""
        url = self._url(share, path, {})
        with self._transport.request(
            "HEAD", url, secret_headers=self._headers(url, "HEAD"), step="list"
        ) as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise bad_status(answer, "list", self._credential, path)
            size, etag = int(answer.header("Content-Length") or 0), answer.header("ETag")
        return RemoteFile(
            safe_path(name),
            reader(
                self._transport,
                url,
                secret_headers=lambda: self._headers(url),
                credential=self._credential,
                name=path,
            ),
            size=size,
            version=etag,
            ranged=self._key is None,  # a signature covers the Range header
        )

    def _url(self, share: str, path: str, query: dict[str, str]) -> str:
        pairs = [*query.items(), *parse_qsl(self._signature)]
        place = quote(f"/{share}/{path}".rstrip("/"))
        return f"{self._service}{place}" + (f"?{urlencode(pairs)}" if pairs else "")

    def _headers(self, url: str, method: str = "GET") -> dict[str, str]:
        if self._key is None:
            return {"x-ms-version": VERSION}
        return signed(method, url, self._account, self._key, datetime.now(UTC))


def signed(method: str, url: str, account: str, key: str, now: datetime) -> dict[str, str]:
    """Shared Key, as Azure's description has it, for a request without body and Range."""
    parts = urlsplit(url)
    sent = {"x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": VERSION}
    named = "\n".join(f"{name}:{value}" for name, value in sorted(sent.items()))
    query = "".join(f"\n{name}:{value}" for name, value in sorted(parse_qsl(parts.query)))
    text = f"{method}\n\n\n\n\n\n\n\n\n\n\n\n{named}\n/{account}{parts.path}{query}"
    mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return sent | {"Authorization": f"SharedKey {account}:{base64.b64encode(mac).decode()}"}


def _parse(body: bytes) -> ET.Element:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise StorageError(
            "list", "the listing declares entities, which a store has no need of", reason="Refused"
        )
    return ET.fromstring(body)  # noqa: S314 (without a document type there are no entities)
