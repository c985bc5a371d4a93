"""Buckets: what S3, GCS and Azure Blob have in common, over obstore."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import obstore
from obstore import exceptions

from modelport.storage.failure import Changed, Step, StorageError, transient
from modelport.storage.source import Context, Listing, RemoteFile
from modelport.storage.uri import safe_path

CHUNK = 64 << 10
"""Least bytes a worker is given at once. More would be gathered by copying, and come from mmap each time."""
RETRY: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}
"""None of its own: the fetch has a budget, and goes on where a read broke."""
NOWHERE = "127.0.0.1:0"
"""Nobody can listen there."""


Provider = Callable[[], dict[str, Any]]
"""Gives obstore a credential when it needs one."""
LEEWAY = timedelta(minutes=5)


def kept(provider: Provider) -> Provider:
    """The same, asked once now, so that what is wrong is told in its own words, and again when it expires."""
    last = provider()

    def ask() -> dict[str, Any]:
        nonlocal last
        expires = last.get("expires_at")
        if expires is not None and expires - datetime.now(UTC) < LEEWAY:
            last = provider()
        return last

    return ask


def nobody(**values: Any) -> Provider:
    """A credential that is never used: with one, obstore does not look for others in the environment."""
    return lambda: {**values, "expires_at": None}


def client_options(context: Context, endpoint: str, *, verify: bool = True, ca: str | None = None) -> Any:
    """How to reach a store: time-outs, certificates, proxies; plain http only where the endpoint says so."""
    parts = urlsplit(endpoint)
    options: dict[str, Any] = {
        "allow_http": parts.scheme == "http",
        "allow_invalid_certificates": not verify,
        "connect_timeout": timedelta(seconds=context.connect_timeout_s),
        "read_timeout": timedelta(seconds=context.read_timeout_s),
        "timeout": timedelta(hours=24),
    }
    if sys.platform == "darwin" or any(name.lower().endswith("_proxy") for name in os.environ):
        from urllib.request import getproxies, proxy_bypass  # it takes a megabyte, and is seldom needed

        proxy = getproxies().get(parts.scheme)
        if proxy and not proxy_bypass(parts.netloc):
            options["proxy_url"] = proxy
    if parts.scheme == "http" and "proxy_url" not in options:
        # obstore follows redirects, and says nothing of them. Over https they lead to https alone; here to no other
        # host: least of all to where a cloud hands out its machines' credentials, over http.
        options |= {"proxy_url": f"http://{NOWHERE}", "proxy_excludes": parts.hostname or ""}
    if ca:
        options["root_certificate"] = ca
    return options


def listing(store: Any, bucket: str, path: str, *, kind: str, origin: str, credential: str) -> Listing:
    """The object of that name, or all below it as a folder. Raises StorageError.

    One request in the usual case: a name with an ending is asked for as an object first, any other as a folder.
    """
    words = partial(trouble, kind=kind, bucket=bucket, path=path, credential=credential, origin=origin)
    bare = path.strip("/")
    source = _Source(store, words)
    try:
        last = bare.rpartition("/")[2]
        first_object = "." in last and not path.endswith("/") and not re.fullmatch(r"v?[\d.]+", last)
        if first_object and (found := source.object(bare)) is not None:
            return Listing((found,), origin, credential)
        pages = store.list(bare or None, chunk_size=1000)
        below = [source.file(meta, bare) for page in pages for meta in page if meta["path"] != bare]
        if not below and not first_object and bare and not path.endswith("/"):
            found = source.object(bare)
            if found is not None:
                return Listing((found,), origin, credential)
    except (exceptions.BaseError, OSError) as error:
        raise words("list", error) from error
    return Listing(tuple(_without_markers(below)), origin, credential)


class _Source(NamedTuple):
    """What reads all objects of a bucket."""

    store: Any
    words: Callable[[Step, Exception], StorageError]

    def file(self, meta: Any, prefix: str) -> RemoteFile:
        """What a store says of an object, as a file below a prefix."""
        path = meta["path"]
        etag = meta.get("e_tag")
        return RemoteFile(
            safe_path(path[len(prefix) :].lstrip("/") if prefix else path),
            _Reader(self, path, etag),
            size=meta["size"],
            version=etag or meta.get("version") or str(meta["last_modified"]),
        )

    def object(self, path: str) -> RemoteFile | None:
        """The object of that name, under the last part of it; None where there is none."""
        try:
            return self.file(self.store.head(path), path.rpartition("/")[0])
        except FileNotFoundError:
            return None


def _without_markers(found: list[RemoteFile]) -> list[RemoteFile]:
    """Leaves out what consoles and Hadoop make to show a folder: empty objects named like one."""
    if all(one.size for one in found):
        return found
    folders = {one.path[:place] for one in found for place in _slashes(one.path)}

    def marker(one: RemoteFile) -> bool:
        return one.size == 0 and (one.path in folders or "." not in one.path.rpartition("/")[2])

    return [one for one in found if not marker(one)]


def _slashes(path: str) -> list[int]:
    return [place for place, letter in enumerate(path) if letter == "/"]


class _Reader:
    """Reads one object. There may be a hundred thousand of them: it holds no more than it must."""

    __slots__ = ("_etag", "_path", "_source")

    def __init__(self, source: _Source, path: str, etag: str | None) -> None:
        self._source = source
        self._path = path
        self._etag = etag

    def __call__(self, start: int, stop: int | None) -> Iterator[memoryview]:
        """Bytes of the object, as long as it is the one that was listed."""
        options: Any = {}
        if self._etag and not self._etag.startswith("W/"):
            options["if_match"] = self._etag
        if stop is not None:
            options["range"] = (start, stop)
        elif start:
            options["range"] = {"offset": start}
        try:
            answer = obstore.get(self._source.store, self._path, options=options)
            for chunk in answer.stream(min_chunk_size=CHUNK):
                yield memoryview(chunk)
                del chunk  # before the next one comes: a worker holds one
        except (exceptions.PreconditionError, FileNotFoundError) as error:
            raise Changed from error
        except (exceptions.BaseError, OSError) as error:
            raise self._source.words("read", error) from error


CODES: dict[str, str] = {
    "InvalidAccessKeyId": "the store does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the credential has expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is too far off",
    "AccountProblem": "the account is suspended",
    "AuthenticationFailed": "the store does not accept the key or signature",
    "NoAuthenticationInformation": "the store wants to know who asks",
}


def trouble(
    step: Step, error: Exception, *, kind: str, bucket: str, path: str, credential: str, origin: str
) -> StorageError:
    """What a store answered, in words, and with whose credential."""
    told = _words(step, error, place=f"{kind} {bucket}", path=path, given=bool(credential), origin=origin)
    told.credential = credential
    return told


def _words(step: Step, error: Exception, *, place: str, path: str, given: bool, origin: str) -> StorageError:
    text = str(error)
    if f"{NOWHERE}," in text:
        return StorageError(
            step,
            f"{place}: {origin} redirects to another host, which is not followed over plain http",
            "Give that host itself as the endpoint, if you trust it",
            reason="Refused",
        )
    head = text.partition("Debug source:")[0]
    status = int(found[1]) if (found := re.search(r"status code: (\d{3})", text)) else 0
    code = found[1] if (found := re.search(r"<Code>(\w+)</Code>", text)) else ""
    if code in CODES or status == 401:
        return StorageError(
            "authenticate",
            f"{place}: {CODES.get(code, 'the store wants to know who asks')} ({code or status})",
            "Check the credential's values" if given else "Give a credential",
            reason="Unauthenticated",
        )
    if code in ("NoSuchBucket", "ContainerNotFound") or (status == 404 and step == "list"):
        return StorageError(
            "list",
            f"there is no {place} at {origin}",
            "Check its name, the endpoint and the region",
            reason="NotFound",
        )
    if status == 403 or isinstance(error, exceptions.PermissionDeniedError):
        return StorageError(
            "authenticate",
            f"{place}: {path or 'it'} may not be read ({code or 'AccessDenied'})",
            "Give the credential the right to list and read it"
            if given
            else "Give a credential: a Secret on the ServiceAccount, or variables of the environment",
            reason="PermissionDenied",
        )
    if isinstance(error, exceptions.UnauthenticatedError):
        return StorageError(
            "authenticate",
            f"{place}: the store does not accept the credential",
            "Check its values",
            reason="Unauthenticated",
        )
    if status in (301, 307) or "redirect" in head.lower() or "region" in code.lower():
        return StorageError(
            "list",
            f"{place} lies in another region than the one that was asked",
            "Name it: AWS_DEFAULT_REGION, or the annotation serving.kserve.io/s3-region on the Secret",
            reason="NotFound",
        )
    if isinstance(error, exceptions.InvalidPathError):
        return StorageError(
            "list",
            f"{place}: {head.strip().removeprefix('Encountered object with invalid path: ')}",
            "Rename the object: a file's path has no empty parts",
            reason="Unsupported",
        )
    if "UnknownIssuer" in text or "certificate" in text.lower():
        return StorageError(
            "authenticate",
            f"the certificate of {origin} is not trusted",
            "Name its authority's file in AWS_CA_BUNDLE, or set S3_VERIFY_SSL to 0 if you must",
            reason="Refused",
        )
    if status and status < 500 and status not in (408, 425, 429):
        return StorageError(step, f"{place}: the store answered {status} {code}".rstrip(), reason="Failed")
    if status:
        return transient(step, f"{place}: the store answered {status} {code}".rstrip(), "It may pass")
    if "dns error" in text or "failed to lookup" in text:
        return transient(
            step, f"the name in {origin} is not known", "Check the endpoint, and this machine's DNS or proxy"
        )
    if "Connection refused" in text or "ConnectionRefused" in text:
        return transient(
            step, f"{origin} refuses connections", "Is the store running, and the endpoint right?"
        )
    if "timed out" in text or "TimedOut" in text:
        return transient(
            step, f"{origin} does not answer", "Check the network, its firewall and proxy settings"
        )
    if any(word in text for word in ("Connect", "error sending request", "connection", "body", "Http(")):
        return transient(step, f"the connection to {origin} broke", "Check the network")
    return StorageError(step, f"{place}: {head.strip()[:300]}", reason="Failed")
