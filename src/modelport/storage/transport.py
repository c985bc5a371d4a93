"""Plain HTTP for the schemes that speak it: pooled connections, redirects by hand, TLS as the credentials say.

Nothing here retries or decides: a failed request is a StorageError that says whether it may pass. Addresses of the
link-local range, where clouds hand out their machines' credentials, are refused: a model's URI must not read them.
"""

from __future__ import annotations

import email.utils
import os
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from modelport.storage.failure import Step, StorageError, transient
from modelport.storage.guard import judge, refuse_literal, refuse_metadata
from modelport.storage.source import Context
from modelport.storage.uri import redact

BLOCK = 256 << 10
REDIRECTS = 10
AGENT = "modelport"


@dataclass(frozen=True)
class Answer:
    """A response whose body has not been read."""

    status: int
    headers: Mapping[str, str]
    """Any case."""
    url: str
    """After redirects."""
    raw: Any

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        return self.headers.get(name, "")

    def chunks(self) -> Iterator[bytes]:
        """The body as it was sent, without undoing a content encoding. Raises StorageError."""
        try:
            while block := self.raw.read(BLOCK, decode_content=False):
                yield block
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise broken(self.url, error) from error

    def text(self, limit: int = 64 << 20) -> bytes:
        """A small body."""
        parts: list[bytes] = []
        total = 0
        for chunk in self.chunks():
            total += len(chunk)
            if total > limit:
                raise StorageError(
                    "list", f"{redact(self.url)}: the answer is larger than {limit} bytes", reason="Failed"
                )
            parts.append(chunk)
        return b"".join(parts)

    def close(self) -> None:
        """Gives the connection back if the body was read, else closes it."""
        if self.raw.closed or not getattr(self.raw, "length_remaining", 1):
            self.raw.release_conn()
        else:
            self.raw.close()


class Transport:
    """Connections to any host, with one way of checking certificates."""

    def __init__(
        self,
        *,
        ca_file: str | None = None,
        verify: bool = True,
        client_certificate: tuple[str, str] | None = None,
        connect_timeout_s: float = 15.0,
        read_timeout_s: float = 30.0,
        ca_data: str | None = None,
    ) -> None:
        context = ssl.create_default_context()
        try:
            if ca_file:
                context.load_verify_locations(cafile=ca_file)
            if ca_data:
                context.load_verify_locations(cadata=ca_data)
            if client_certificate:
                context.load_cert_chain(*client_certificate)
        except (OSError, ssl.SSLError) as error:
            raise StorageError(
                "authenticate",
                f"the certificates in {ca_file or 'the credential'} cannot be used: {error}",
                "Give a PEM file that exists",
                reason="InvalidURI",
            ) from error
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._settings: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
            "retries": False,
            "maxsize": 16,
            "block": False,
            "num_pools": 8,
        }
        self._ssl = context
        self._managers: dict[str, urllib3.PoolManager] = {}

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        secret_headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        step: Step = "resolve",
    ) -> Generator[Answer]:
        """Sends a request, follows redirects, and gives the answer, whatever its status.

        `secret_headers` go to the first host only, never to where it redirects.
        """
        answer = self.open(method, url, headers, secret_headers=secret_headers, body=body, step=step)
        try:
            yield answer
        finally:
            answer.close()

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        secret_headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        step: Step = "resolve",
    ) -> Answer:
        """As `request`; the caller closes the answer."""
        first = urlsplit(url)
        for _ in range(REDIRECTS + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise StorageError(
                    step, f"{redact(url)} is no http address", "Correct the URI", reason="InvalidURI"
                )
            refuse_literal(parts.hostname)
            sent = {"User-Agent": AGENT, "Accept-Encoding": "identity", **(headers or {})}
            if (parts.scheme, parts.netloc) == (first.scheme, first.netloc):
                sent.update(secret_headers or {})
            try:
                raw: Any = self._manager(parts.scheme, parts.hostname).request(
                    method, url, headers=sent, body=body, redirect=False, preload_content=False
                )
            except (urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
                raise broken(url, error, step) from error
            answer = Answer(raw.status, raw.headers, url, raw)
            location = answer.header("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            answer.close()
            url = urljoin(url, location)
            if parts.scheme == "https" and not url.startswith("https:"):
                raise StorageError(
                    step,
                    f"it redirects from https to {redact(url)}, which is not encrypted",
                    "Give that address itself, if you trust it",
                    reason="Refused",
                )
        raise StorageError(
            step, f"it redirects more than {REDIRECTS} times", "Open it with curl -L", reason="Failed"
        )

    def _manager(self, scheme: str, host: str) -> urllib3.PoolManager:
        proxy = "" if proxy_bypass(host) else getproxies().get(scheme, "")
        if proxy:
            refuse_metadata(f"//{host}")  # the proxy connects, so the connection tells nothing
        if proxy not in self._managers:
            manager: urllib3.PoolManager
            if proxy:
                manager = urllib3.ProxyManager(proxy, ssl_context=self._ssl, **self._settings)
            else:
                manager = urllib3.PoolManager(ssl_context=self._ssl, **self._settings)
                manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
            self._managers[proxy] = manager
        return self._managers[proxy]


class _Guarded(HTTPConnection):
    def _new_conn(self) -> Any:
        made = super()._new_conn()
        guard(made, self.host)
        return made


class _GuardedSecure(HTTPSConnection):
    def _new_conn(self) -> Any:
        made = super()._new_conn()
        guard(made, self.host)
        return made


class _Pool(HTTPConnectionPool):
    ConnectionCls: Any = _Guarded


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls: Any = _GuardedSecure


def guard(connection: Any, host: str) -> None:
    """Closes a connection to a metadata service before anything is sent."""
    try:
        judge(connection.getpeername()[0], host)
    except StorageError:
        connection.close()
        raise


def broken(url: str, error: Exception, step: Step = "read") -> StorageError:
    """A connection that could not be made, or ended."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    text = f"{type(error).__name__} {error}"
    cause: Any = error
    while cause is not None:
        if isinstance(cause, StorageError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StorageError(
                "authenticate",
                f"the certificate of {host} is not trusted: {cause.verify_message}",
                "Name its authority's file in AWS_CA_BUNDLE, SSL_CERT_FILE or REQUESTS_CA_BUNDLE",
                reason="Refused",
            )
        cause = cause.__cause__ or cause.__context__ or _reason(cause)
    if "NameResolution" in text or "Name or service not known" in text:
        return transient(
            step, f"the name {host} is not known", "Check the URI, and this machine's DNS or proxy", at=host
        )
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return transient(
            step, f"{host} sent nothing for too long", "Check the network; a mirror may help", at=host
        )
    if "refused" in text:
        return transient(
            step, f"{host} refuses connections", "Is the server running, and the port right?", at=host
        )
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return transient(
            step, f"{host} does not answer", "Check the network, its firewall and proxy settings", at=host
        )
    return transient(
        step, f"the connection to {host} broke ({type(error).__name__})", "Check the network", at=host
    )


def _reason(error: Any) -> Any:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else None


def bad_status(answer: Answer, step: Step, credential: str = "", name: str = "") -> StorageError:
    """An answer that is no success, in words."""
    host = urlsplit(answer.url).netloc.rpartition("@")[2]
    what = name or "it"
    status = answer.status
    if status in (401, 407):
        return StorageError(
            "authenticate",
            f"{host} answered {status}: it wants to know who asks"
            if not credential
            else f"{host} answered {status}: it does not accept the credential",
            "Give a credential"
            if not credential
            else "Check the credential's value, and whether it has expired",
            reason="Unauthenticated",
            credential=credential,
        )
    if status == 403:
        return StorageError(
            "authenticate",
            f"{host} answered 403: {what} may not be read",
            "Give a credential that may" if not credential else "Give the credential the right to read it",
            reason="PermissionDenied",
            credential=credential,
        )
    if status in (404, 410):
        return StorageError(
            step,
            f"{host} answered {status}: there is nothing",
            "Check the URI for typing errors",
            reason="NotFound",
        )
    if status in (408, 425, 429) or status >= 500:
        return transient(
            step, f"{host} answered {status}", "It may pass; if it does not, ask who runs the store", at=host
        )
    return StorageError(step, f"{host} answered {status}", "Open it with curl -v", reason="Failed")


def retry_after(answer: Answer) -> float:
    """Seconds that the server asks to wait."""
    text = answer.header("Retry-After")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def of(context: Context, **more: Any) -> Transport:
    """A transport with a fetch's time-outs, and the authorities that its credentials or this machine name."""
    file = context.credentials.get("CA_BUNDLE")
    if file is None and (folder := context.credentials.get("CA_BUNDLE_VOLUME_MOUNT_POINT")):
        mounted = Path(folder) / "cabundle.crt"  # where KServe mounts the platform's bundle
        file = str(mounted) if mounted.exists() else None
    settings: dict[str, Any] = {
        "ca_file": file or trusted_file(),
        "connect_timeout_s": context.connect_timeout_s,
        "read_timeout_s": context.read_timeout_s,
    }
    return Transport(**{**settings, **more})


def trusted_file() -> str | None:
    """The file of certificate authorities that the environment names, as requests and OpenSSL know it."""
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name):
            return path
    return None
