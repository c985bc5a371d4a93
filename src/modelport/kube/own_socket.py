"""Requests over the Unix socket of an API server on this machine: HTTP/1.1 on a pool of connections, and no more than
that. A general HTTP client is a tenth of what the platform's programs would hold in memory."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import httptools

from modelport.kube.exchange import CONNECT_S, Broken

IDLE_S = 30.0
"""A connection that has rested longer is not used again: the server closes it after 75 s, maybe just now."""
HIGH_WATER_BYTES = 1 << 20
"""What has come and nobody has read: beyond it the server has to wait."""
_IN_PATH = "/:@!$&'()*+,;=~%"
_TOKEN = re.compile(r"^ +token: ([A-Za-z0-9._~+/=-]+)$", re.MULTILINE)
_SERVER = re.compile(r"^ +server: (\S+)$", re.MULTILINE)


def identity(kubeconfig: Path) -> tuple[str, str] | None:
    """The token and the server of a file as the platform writes it, where each is there once. Anything else takes a
    parser of YAML."""
    try:
        text = kubeconfig.read_text()
    except (OSError, UnicodeDecodeError):
        return None  # told by who parses it
    tokens, servers = _TOKEN.findall(text), _SERVER.findall(text)
    return (tokens[0], servers[0]) if len(tokens) == len(servers) == 1 else None


class OwnSocket:
    """A `Transport`. What it is given goes out as it is: it adds Host and Content-Length."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.idle: list[_Connection] = []
        """Connections that wait for an exchange."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None = None,
        wait_s: float | None,
    ) -> _Answer:
        """See `Transport`."""
        query = f"?{urlencode(params, quote_via=quote)}" if params else ""
        head = [f"{method} {quote(path, safe=_IN_PATH)}{query} HTTP/1.1", "Host: localhost"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        connection = await self._connection()
        try:
            connection.begin("\r\n".join(head).encode() + b"\r\n\r\n" + (body or b""))
            await connection.head(wait_s)
        except BaseException:
            connection.abort()
            raise
        return _Answer(connection, wait_s)

    async def close(self) -> None:
        """See `Transport`."""
        while self.idle:
            self.idle.pop().abort()

    async def _connection(self) -> _Connection:
        while self.idle:
            found = self.idle.pop()
            if found.usable and time.monotonic() - found.rests_since < IDLE_S:
                return found
            found.abort()
        try:
            async with asyncio.timeout(CONNECT_S):
                loop = asyncio.get_running_loop()
                _, made = await loop.create_unix_connection(lambda: _Connection(self.idle), self._path)
        except (OSError, TimeoutError) as error:
            raise Broken(f"{self._path}: {error or 'no connection in time'}") from error
        return made


class _Answer:
    def __init__(self, connection: _Connection, wait_s: float | None) -> None:
        self._connection, self._wait_s = connection, wait_s
        self._closed = False
        self.status = connection.status
        self._headers = connection.headers

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    async def read(self) -> bytes:
        try:
            return b"".join([part async for part in self._parts()])
        finally:
            await self.close()

    async def lines(self) -> AsyncIterator[str]:
        rest = b""
        async for part in self._parts():
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    async def close(self) -> None:
        if self._closed:
            return  # by now it may carry another exchange
        self._closed = True
        self._connection.leave()

    async def _parts(self) -> AsyncIterator[bytes]:
        while (part := await self._connection.part(self._wait_s)) is not None:
            yield part


class _Connection(asyncio.Protocol):
    """One connection, which carries one exchange at a time."""

    def __init__(self, idle: list[_Connection]) -> None:
        """`idle`: where it waits for its next exchange."""
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._has_head = self._is_whole = self._paused = False
        self._keeps = True
        self._lost = ""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.rests_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as one knows."""
        return not self._lost and self._transport is not None and not self._transport.is_closing()

    def begin(self, request: bytes) -> None:
        """Sends a request. Raises Broken."""
        if self._transport is None or not self.usable:
            raise Broken(self._lost or "the connection was closed")
        self._parser = httptools.HttpResponseParser(self)
        self._parts.clear()
        self._has_head = self._is_whole = False
        self._held, self.headers = 0, {}
        self._transport.write(request)

    async def head(self, wait_s: float | None) -> None:
        """Waits for the answer's head. Raises Broken."""
        while not self._has_head:
            await self._wait(wait_s)

    async def part(self, wait_s: float | None) -> bytes | None:
        """The body's next part; None at its end. Raises Broken."""
        while not self._parts and not self._is_whole:
            await self._wait(wait_s)
        if not self._parts:
            return None
        part = self._parts.popleft()
        self._held -= len(part)
        if self._paused and not self._held and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return part

    def leave(self) -> None:
        """The exchange is over. Where its answer has come whole, the connection waits for the next."""
        self._parts.clear()
        if self.usable and self._is_whole and self._keeps:
            self.rests_since = time.monotonic()
            self._idle.append(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Closes it at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, wait_s: float | None) -> None:
        if self._lost:
            raise Broken(self._lost)
        self._news.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            raise Broken(f"nothing came for {wait_s:.0f} s") from None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream's
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lost = f"the answer is no HTTP: {error}"
            self.abort()
        if self._held > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or str(exc or "the server closed the connection")
        self._news.set()
        if self in self._idle:
            self._idle.remove(self)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        self._keeps = self._parser.should_keep_alive()
        self._is_whole = True
