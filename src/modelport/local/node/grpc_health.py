"""One question of gRPC's health protocol (grpc.health.v1.Health/Check), over HTTP/2 without TLS, as the kubelet asks it.

A probe is a handful of frames on a connection of its own, so no HTTP/2 library is needed: headers are sent as HPACK
literals, and of the answer only the data frame is looked into.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
MAX_FRAME = 16384
"""Bytes; what a peer may send that was not told otherwise."""


async def check(address: str, port: int, service: str) -> str | None:
    """None where the service serves, or what it is. Raises OSError, EOFError, ValueError."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + question(f"{address}:{port}", service))
        await writer.drain()
        message = await _answer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    named = f"service {service!r}" if service else "the server"
    if message is None:
        return (
            f"gRPC health on port {port}: {named} answered without a status; "
            "it does not know the service, or has no grpc.health.v1.Health"
        )
    state = serving_status(message)
    return None if state == 1 else f"gRPC health on port {port}: {named} is {STATES.get(state, state)}"


def question(authority: str, service: str) -> bytes:
    """The request's frames."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "kube-probe/modelport",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    body = struct.pack(">?I", False, len(message)) + message
    return frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, body)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def serving_status(message: bytes) -> int:
    """The status in a HealthCheckResponse. ValueError where it is none."""
    position, state = 0, 0
    while position < len(message):
        tag, position = _number(message, position)
        if tag & 7 == 0:
            value, position = _number(message, position)
            state = value if tag >> 3 == 1 else state
        elif tag & 7 == 2:
            length, position = _number(message, position)
            position += length
        else:
            raise ValueError("the answer is no HealthCheckResponse")
    return state


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
    """The answer's message; None where the stream ends without one."""
    body = b""
    while True:
        head = await reader.readexactly(9)
        length = int.from_bytes(head[:3])
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        if length > MAX_FRAME:
            raise ValueError("the answer is not HTTP/2; is it a port for gRPC without TLS?")
        payload = await reader.readexactly(length)
        if kind == SETTINGS and not flags & ACK:
            writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            writer.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise ValueError("the server hangs up")
        elif stream & 0x7FFFFFFF != 1:
            continue
        elif kind == RST_STREAM:
            raise ValueError("the server refuses the call")
        elif kind == DATA:
            body += payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
            if len(body) >= 5 and len(body) - 5 >= int.from_bytes(body[1:5]):
                return body[5 : 5 + int.from_bytes(body[1:5])]
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            return None


def _text(text: str) -> bytes:
    data = text.encode()
    return (bytes([len(data)]) if len(data) < 127 else b"\x7f" + _varint(len(data) - 127)) + data


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _number(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("the answer is no HealthCheckResponse")
        value |= (data[position] & 127) << shift
        position += 1
        if data[position - 1] < 128:
            return value, position
        shift += 7
