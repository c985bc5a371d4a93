"""Asks an issuer for its keys, once: over TLS or on this machine, no redirects, bounded in size and time.

A link-local or metadata address is refused before anything is sent; a name that changes its address after that still
has to show the issuer's certificate.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from modelport.kube.resource import Object
from modelport.local.gateway import issuer
from modelport.local.gateway.issuer import Source
from modelport.storage.failure import StorageError
from modelport.storage.guard import judge

ALL_S = 10.0
"""For discovery and keys together."""
LONGEST = 1 << 20
EVERY_S = 300.0
"""So often where an issuer does not say."""
LEAST_S, MOST_S = 60.0, 3600.0
"""Bounds of what an issuer says."""
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?([0-9]{1,9})")


class NotFetched(Exception):
    """No keys came. The message says why and what to do, the same words as long as the cause is the same."""


class Answer(msgspec.Struct, frozen=True):
    """What came."""

    keys: list[Object]
    fresh_s: float
    """Ask again after this."""


async def ask(source: Source) -> Answer:
    """Raises NotFetched."""
    try:
        async with asyncio.timeout(ALL_S), _client(source) as client:
            where = await _discover(client, source) if source.discovered else source.url
            body, headers = await _get(client, where)
            keys = issuer.public_keys(body, where)
    except TimeoutError:
        raise NotFetched(
            f"{source.url}: no whole answer within {ALL_S:.0f} s. Is the issuer up, and reachable from here?"
        ) from None
    except ValueError as error:
        raise NotFetched(f"{error} Ask who runs the issuer.") from error
    fresh_s = source.refresh_s if source.refresh_s is not None else freshness(headers)
    return Answer(keys, fresh_s)


def freshness(headers: httpx2.Headers) -> float:
    """What Cache-Control says, within bounds."""
    said = _MAX_AGE.search(headers.get("cache-control", "").lower())
    return min(max(float(said[1]), LEAST_S), MOST_S) if said else EVERY_S


@asynccontextmanager
async def _client(source: Source) -> AsyncGenerator[httpx2.AsyncClient]:
    try:
        trusted = await asyncio.to_thread(ssl.create_default_context, cadata=source.authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise NotFetched("ca.crt: holds no certificates in PEM.") from error
    async with httpx2.AsyncClient(
        verify=trusted,
        follow_redirects=False,
        timeout=httpx2.Timeout(ALL_S),
        mounts={"http://": None},  # plain http is for this machine alone: past every proxy
    ) as client:
        yield client


async def _discover(client: httpx2.AsyncClient, source: Source) -> str:
    """The address of the keys. ValueError where the document names none that may be asked."""
    body, _ = await _get(client, source.url)
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"{source.url}: is no JSON object: {error}.") from error
    said = str(found.get("issuer", ""))
    if said.rstrip("/") != source.issuer.rstrip("/"):
        raise NotFetched(
            f'{source.url}: is of the issuer "{said}", not "{source.issuer}". Put that into issuer, if you trust it.'
        )
    where = str(found.get("jwks_uri", ""))
    issuer.check_url(where, f"{source.url}: jwks_uri")
    return where


async def _get(client: httpx2.AsyncClient, url: str) -> tuple[bytes, httpx2.Headers]:
    await _judge(url)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with client.stream("GET", url, headers=headers) as answer:
            if answer.is_redirect:
                where = answer.headers.get("location", "")
                raise NotFetched(f"{url}: redirects to {where}. Name that in jwks_uri, if you trust it.")
            if answer.status_code != 200:
                raise NotFetched(f"{url}: answered {answer.status_code}. Is the address right?")
            body = b""
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LONGEST:
                    raise NotFetched(f"{url}: answered more than {LONGEST} bytes, which is no set of keys.")
            return body, answer.headers
    except httpx2.TransportError as error:
        raise NotFetched(f"{url}: {_words(error)}") from error
    except httpx2.InvalidURL as error:
        raise NotFetched(f"{url}: is no address: {error}.") from error


async def _judge(url: str) -> None:
    """Raises NotFetched for an address that no issuer has. A name that is not known here may be known to a proxy."""
    parts = httpx2.URL(url)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.host, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for *_, place in found:
        try:
            judge(str(place[0]), parts.host)
        except StorageError as error:
            raise NotFetched(f"{url}: {error.message}. No issuer's keys lie there.") from error
        if parts.scheme == "http" and not issuer.is_loopback(str(place[0])):
            raise NotFetched(f"{url}: {parts.host} is {place[0]} here, not this machine. Use https://.")


def _words(error: BaseException) -> str:
    """A connection that could not be made, or ended."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}. Put its authority's PEM into ca.crt."
        if isinstance(cause, socket.gaierror):
            return "its name is not known. Check the address, and this machine's DNS or proxy."
        if isinstance(cause, ConnectionRefusedError):
            return "it refuses connections. Is the issuer up, and the port right?"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS came about: {cause.reason or cause}. Is the port right?"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectError):
        return "no connection came about. Is the issuer up, and the address right?"
    return f"the connection broke ({type(error).__name__}). Is the issuer up?"
