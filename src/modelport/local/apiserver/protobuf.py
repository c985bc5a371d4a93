"""Bodies in protocol buffers, as kubectl's own commands send Kubernetes' kinds: read into the JSON that they mean.

Answers are JSON always: whoever sends protocol buffers accepts it. Field numbers and names are in `protobuf.json`,
which `scripts/kubernetes-protobuf` writes.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modelport.kube.errors import bad_request
from modelport.kube.meta import micro_timestamp, timestamp
from modelport.kube.resource import Object

MAGIC = b"k8s\x00"
DEEPEST = 64
SCHEMA = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMBERS = ("int32", "int64", "uint32", "uint64", "bool")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Field(NamedTuple):
    number: int
    name: str
    """In JSON; empty where the message's fields are its parent's."""
    type: str
    flags: str
    """r: a list; m: a map of text to `type`; z: kept where it is zero."""


class _Table(msgspec.Struct):
    release: str
    kinds: dict[str, str]
    messages: dict[str, list[tuple[int, str, str, str]]]


class Malformed(ValueError):
    """The bytes are no such message."""


@cache
def _table() -> _Table:
    return msgspec.json.decode(Path(__file__).with_name("protobuf.json").read_bytes(), type=_Table)


@cache
def _fields(message: str) -> dict[int, _Field]:
    return {one[0]: _Field(*one) for one in _table().messages[message]}


def parse_protobuf(body: bytes) -> Object:
    """The object that a body holds. ApiError 400 where it is malformed, or of a kind that only JSON can tell."""
    if not body.startswith(MAGIC):
        raise bad_request(
            "the body is no Kubernetes object in protocol buffers: it does not begin with 'k8s\\x00'"
        )
    try:
        raw, api_version, kind = b"", "", ""
        for number, value in _split(body[len(MAGIC) :]):
            if number == 1 and isinstance(value, bytes):
                words = {n: v.decode() for n, v in _split(value) if isinstance(v, bytes)}
                api_version, kind = words.get(1, ""), words.get(2, "")
            elif number == 2 and isinstance(value, bytes):
                raw = value
        # Every group has DeleteOptions of its own, all alike.
        known = "v1/DeleteOptions" if kind == "DeleteOptions" else f"{api_version}/{kind}"
        message = _table().kinds.get(known)
        if message is None:
            raise bad_request(
                f"{api_version}, Kind={kind}: not known in protocol buffers; send it as application/json"
            )
        return {"apiVersion": api_version, "kind": kind} | _message(message, raw, 0)
    except (Malformed, UnicodeDecodeError, struct.error, OverflowError) as error:
        raise bad_request(f"the body is no message of protocol buffers: {error}") from error


def _message(name: str, data: bytes, depth: int) -> Object:
    if depth > DEEPEST:
        raise Malformed(f"nested more than {DEEPEST} levels deep")
    fields = _fields(name)
    result: Object = {}
    for number, value in _split(data):
        field = fields.get(number)
        if field is None:
            continue  # from a newer client
        if field.flags == "m":
            key, item = _entry(field.type, value, depth)
            result.setdefault(field.name, {})[key] = item
        elif "r" in field.flags:
            result.setdefault(field.name, []).extend(_items(field, value, depth))
        else:
            read = _value(field.type, value, depth)
            if not field.name:
                result |= read
            elif read is not None and (read not in ("", 0) or "z" in field.flags or isinstance(read, dict)):
                result[field.name] = read
    return result


def _entry(kind: str, value: int | bytes, depth: int) -> tuple[str, Any]:
    key, item = "", _value(kind, 0 if kind in _NUMBERS else b"", depth)
    for number, part in _split(_as_bytes(value)):
        if number == 1:
            key = _as_bytes(part).decode()
        elif number == 2:
            item = _value(kind, part, depth)
    return key, item


def _items(field: _Field, value: int | bytes, depth: int) -> Iterator[Any]:
    if isinstance(value, bytes) and field.type in _NUMBERS:
        position = 0  # packed: one after the other
        while position < len(value):
            number, position = _varint(value, position)
            yield _value(field.type, number, depth)
    else:
        yield _value(field.type, value, depth)


def _value(kind: str, value: int | bytes, depth: int) -> Any:
    match kind:
        case "string":
            return _as_bytes(value).decode()
        case "bytes":
            return base64.b64encode(_as_bytes(value)).decode()
        case "bool":
            return _as_int(value) != 0
        case "int32" | "int64":
            number = _as_int(value)
            return number - (1 << 64) if number >= 1 << 63 else number
        case "uint32" | "uint64":
            return _as_int(value)
        case "double":
            return struct.unpack("<d", _as_int(value).to_bytes(8, "little"))[0]
        case "time" | "microtime":
            return _time(_as_bytes(value), micro=kind == "microtime")
        case "duration":
            return f"{_numbers(_as_bytes(value)).get(1, 0)}ns"
        case "quantity":
            return next((_as_bytes(v).decode() for n, v in _split(_as_bytes(value)) if n == 1), "0")
        case "intorstring":
            return _int_or_string(_as_bytes(value))
        case "raw":
            return _raw(_as_bytes(value))
        case "schemaorarray" | "schemaorbool" | "schemaorstrings":
            return _schema_or(kind, _as_bytes(value), depth)
        case _:
            return _message(kind, _as_bytes(value), depth + 1)


def _numbers(data: bytes) -> dict[int, int]:
    return {number: _value("int64", value, 0) for number, value in _split(data) if isinstance(value, int)}


def _time(data: bytes, *, micro: bool) -> str | None:
    if not data:
        return None
    found = _numbers(data)
    moment = _EPOCH + timedelta(seconds=found.get(1, 0), microseconds=found.get(2, 0) // 1000)
    return micro_timestamp(moment) if micro else timestamp(moment)


def _int_or_string(data: bytes) -> int | str:
    found = dict(_split(data))
    if found.get(1):
        return _as_bytes(found.get(3, b"")).decode()
    return _value("int32", found.get(2, 0), 0)


def _schema_or(kind: str, data: bytes, depth: int) -> Any:
    """Where a definition's schema has another schema, or true or false, or a list."""
    found = list(_split(data))
    schema, other = (2, 1) if kind == "schemaorbool" else (1, 2)
    for number, value in found:
        if number == schema:
            return _message(SCHEMA, _as_bytes(value), depth + 1)
    if kind == "schemaorbool":
        return any(_as_int(value) != 0 for number, value in found if number == other)
    one = SCHEMA if kind == "schemaorarray" else "string"
    return [_value(one, value, depth) for number, value in found if number == other]


def _raw(data: bytes) -> Any:
    content = next((_as_bytes(value) for number, value in _split(data) if number == 1), b"")
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError as error:
        raise Malformed(f"embedded JSON: {error}") from error


def _split(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and their values: whole numbers, or bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            size, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire} of field {number}")
        if position + size > len(data):
            raise Malformed(f"field {number} ends behind the message")
        content = data[position : position + size]
        yield number, content if wire == _BYTES else int.from_bytes(content, "little")
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, position
        shift += 7
        if shift > 63:
            break
    raise Malformed("a number has no end")


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Malformed("a number where bytes belong")
    return value


def _as_int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise Malformed("bytes where a number belongs")
    return value
