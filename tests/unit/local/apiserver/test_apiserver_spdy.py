"""SPDY's frames as kubectl sends them: whole, in pieces, and as no client should send them."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.local.apiserver import spdy
from modelport.local.apiserver.spdy import Frame, Malformed, Session


class Client:
    """The other end: what a client's frames look like."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=spdy.DICTIONARY)

    def open(self, stream: int, headers: dict[str, str], *, final: bool = False) -> bytes:
        plain = struct.pack(">I", len(headers)) + b"".join(
            struct.pack(">I", len(word)) + word.encode() for pair in headers.items() for word in pair
        )
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return spdy.control(
            spdy.SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + block, spdy.FIN if final else 0
        )


def test_the_dictionary_is_the_specifications() -> None:
    """A wrong byte in it makes every header unreadable. Adler-32 as zlib names it in a stream (2.6.10.1)."""
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


@given(st.lists(st.integers(1, 40), max_size=40))
@settings(max_examples=50, deadline=None)
def test_frames_come_whole_however_they_are_cut(cuts: list[int]) -> None:
    client = Client()
    headers = {"streamtype": "data", "port": "8080", "requestid": "0"}
    sent = client.open(1, headers, final=True) + client.open(3, headers | {"requestid": "1"})
    sent += spdy.data(3, b"GET / HTTP/1.1\r\n") + spdy.control(spdy.PING, b"\0\0\0\1")
    sent += spdy.control(4, b"settings") + spdy.data(3, b"", final=True)
    session, found, at = Session(), list[Frame](), 0
    for cut in [*cuts, len(sent)]:
        found += session.receive(sent[at : at + cut])
        at += cut
    found += session.receive(sent[at:])
    assert [(one.type, one.stream, one.final) for one in found] == [
        (spdy.SYN_STREAM, 1, True),
        (spdy.SYN_STREAM, 3, False),
        (0, 3, False),
        (spdy.PING, 0, False),
        (0, 3, True),
    ]
    assert found[1].headers == headers | {"requestid": "1"}
    assert found[2].content == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">II", 1 << 31 | 2 << 16 | 1, 0),
        spdy.control(spdy.SYN_STREAM, b"\0"),
        spdy.control(spdy.SYN_STREAM, b"\0\0\0\1" + bytes(6) + b"no zlib"),
        spdy.control(spdy.RST_STREAM, b""),
    ],
    ids=["version", "short", "garbage", "reset"],
)
def test_what_is_no_spdy_is_refused(sent: bytes) -> None:
    with pytest.raises(Malformed):
        list(Session().receive(sent))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_frames_or_malformed(content: bytes) -> None:
    try:
        for frame in Session().receive(content):
            assert isinstance(frame, Frame)
    except Malformed:
        pass
