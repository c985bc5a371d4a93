"""SPDY/3.1's frames, as far as `kubectl port-forward` speaks them (draft-mbelshe-httpbis-spdy-00). Pure: bytes in, bytes out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
VERSION = 3
LARGEST = 1 << 24
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-"
    "ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|content-la"
    "nguage|content-length|content-location|content-md5|content-range|content-type|date|etag|expect|e"
    "xpires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modi"
    "fied|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|referer|retry-aft"
    "er|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|meth"
    "od|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 No"
    "n-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403"
    " Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Fe"
    "b Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunke"
    "d,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/"
    "javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS.split("|")) + _TAIL.encode()
)
"""What header blocks are compressed against (2.6.10.1)."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame that came."""

    type: int
    """0 for data."""
    stream: int = 0
    final: bool = False
    headers: dict[str, str] = {}
    content: bytes = b""
    """Data; of a ping, its number."""


class Malformed(Exception):
    """What came is no SPDY."""


class Session:
    """Both directions' state: bytes that are no whole frame yet, and the header compression."""

    def __init__(self) -> None:
        self._buffer = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, content: bytes) -> Iterator[Frame]:
        """The frames that are whole by now; those of no interest are left out. Raises Malformed."""
        self._buffer += content
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            if not first >> 31:
                yield Frame(type=0, stream=first, final=bool(flags & FIN), content=body)
                continue
            if (first >> 16) & 0x7FFF != VERSION:
                raise Malformed(f"version {(first >> 16) & 0x7FFF}")
            frame = self._control(first & 0xFFFF, flags, body)
            if frame is not None:
                yield frame

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        try:
            if kind == SYN_STREAM:
                (stream,) = struct.unpack_from(">I", body)
                headers = self._headers(body[10:])
                return Frame(type=kind, stream=stream & 0x7FFFFFFF, final=bool(flags & FIN), headers=headers)
            if kind == RST_STREAM:
                return Frame(type=kind, stream=struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)
            if kind in (PING, GOAWAY):
                return Frame(type=kind, content=body)
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise Malformed(str(error)) from error
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, LARGEST)
        (count,) = struct.unpack_from(">I", plain)
        at, words = 4, list[str]()
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", plain, at)
            words.append(plain[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(words[::2], words[1::2], strict=True))

    def reply(self, stream: int) -> bytes:
        """SYN_REPLY without headers: the stream is taken."""
        plain = struct.pack(">I", 0)
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return control(SYN_REPLY, struct.pack(">I", stream) + block)


def control(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A control frame."""
    return struct.pack(">II", 1 << 31 | VERSION << 16 | kind, flags << 24 | len(body)) + body


def data(stream: int, content: bytes, *, final: bool = False) -> bytes:
    """A data frame."""
    return struct.pack(">II", stream, (FIN if final else 0) << 24 | len(content)) + content
