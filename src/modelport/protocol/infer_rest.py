"""Requests and responses as REST carries them: JSON, and the bytes of binary tensors after it."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from modelport.protocol.errors import InvalidInput
from modelport.protocol.infer_tensor import InferTensor, Parameters


def part(tensor: InferTensor, binary: bool, parts: list[bytes], model_name: str) -> dict[str, Any]:
    """A tensor's JSON; if it travels as binary, its bytes go to the end of `parts`."""
    if not tensor.has_data():
        raise _no_data(tensor.side, tensor.name, model_name)
    head, content = tensor.to_part(binary)
    if content is not None:
        parts.append(content)
    return head


def body(message: dict[str, Any], parts: list[bytes]) -> tuple[dict[str, Any] | bytes, int | None]:
    """A dict and None, or with binary tensors the body and the length of its JSON."""
    if not parts:
        return message, None
    head = msgspec.json.encode(message)
    return b"".join((head, *parts)), len(head)


class TensorMessage(msgspec.Struct):
    """A tensor as JSON has it."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: Parameters | None = None


class OutputMessage(msgspec.Struct):
    """A requested output."""

    name: str
    parameters: Parameters | None = None


class RequestMessage(msgspec.Struct):
    """A request."""

    inputs: list[TensorMessage]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[OutputMessage] | None = None


class ResponseMessage(msgspec.Struct):
    """A response."""

    outputs: list[TensorMessage]
    id: str | None = None
    model_name: str = ""
    model_version: str | None = None
    parameters: Parameters | None = None


_T = TypeVar("_T", bound=InferTensor)
_M = TypeVar("_M")


def converted(message: object, kind: type[_M]) -> _M:
    """A parsed message, typed. Raises InvalidInput naming the field that is wrong."""
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise InvalidInput(f"{where.rstrip('`') or 'body'}: {what}.") from error


def tensors(kind: type[_T], messages: list[TensorMessage], binary: bytes, model_name: str) -> list[_T]:
    """Tensors out of their JSON and of the bytes that follow it, of which they are views."""
    rest = memoryview(binary)
    found: list[_T] = []
    for message in messages:
        parameters = message.parameters
        tensor = kind(message.name, message.shape, message.datatype, message.data, parameters)
        size = (parameters or {}).get("binary_data_size")
        if message.data is None:
            if not isinstance(size, int):
                raise _no_data(kind.side, message.name, model_name)
            if not 0 <= size <= len(rest):
                raise InvalidInput(
                    f"{kind.side}s.{message.name}: binary_data_size is {size}, "
                    f"but only {len(rest)} bytes are left."
                )
            tensor.set_raw(rest[:size])
            rest = rest[size:]
        found.append(tensor)
    if len(rest):
        raise InvalidInput(f"body: {len(rest)} bytes follow the last tensor. Check binary_data_size.")
    return found


def _no_data(side: str, name: str, model_name: str) -> InvalidInput:
    return InvalidInput(f"'data' field is missing for {side} '{name}' for model '{model_name}'")
