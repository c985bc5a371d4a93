"""A gRPC client of the Open Inference Protocol for one server. Needs grpcio: pip install 'modelport[grpc]'.

Messages are written by hand: a generated protobuf module registers names that KServe's and Triton's own clients register
too, and one process with two of them crashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from modelport.client.rest import decode_tensor, encode_tensor
from modelport.protocol.datatype import Array, datatype_of

SERVICE = "inference.GRPCInferenceService"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class GrpcError(Exception):
    """The server answered with an error. `code` is gRPC's word for it, as in NOT_FOUND."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class GrpcMissing(Exception):
    """grpcio is not installed. The message says how it is."""


class GrpcClient:
    """Asks one server; use it in a `with`."""

    def __init__(
        self,
        address: str,
        *,
        authority: str = "",
        certificate: bytes | None = None,
        certified_name: str = "",
        token: str = "",
        timeout_s: float = 60.0,
    ) -> None:
        """`address`: host:port. `authority`: the host name that the request is for. `certificate`: PEM of who signs
        the server's, which makes the connection TLS. `certified_name`: a name in it, where it is not the authority's. `token`: sent as a bearer token. GrpcMissing."""
        try:
            import grpc
        except ImportError as error:
            raise GrpcMissing("grpcio is not installed. Run: pip install 'modelport[grpc]'") from error
        library: Any = grpc
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        if authority:
            options.append(("grpc.default_authority", authority))
        if certified_name:
            options.append(("grpc.ssl_target_name_override", certified_name))
        self._library = library
        self._channel: Any = (
            library.insecure_channel(address, options)
            if certificate is None
            else library.secure_channel(
                address, library.ssl_channel_credentials(root_certificates=certificate), options
            )
        )
        self._timeout_s = timeout_s
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def metadata(self, model: str) -> dict[str, Any]:
        """The model's metadata, as the REST protocol has it: name, inputs, outputs. GrpcError."""
        found: dict[str, Any] = {"name": model, "inputs": [], "outputs": []}
        for number, value in _fields(self._call("ModelMetadata", _text(1, model))):
            if number in (4, 5):
                tensor = _tensor(value)
                found["inputs" if number == 4 else "outputs"].append(tensor)
        return found

    def infer(self, model: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Text is an object array of `str` both ways. GrpcError."""
        request, raw = bytearray(_text(1, model)), bytearray()
        for name, given in inputs.items():
            array = np.ascontiguousarray(given)
            shape = b"".join(_varint(size) for size in array.shape)
            tensor = _text(1, name) + _text(2, datatype_of(array.dtype)) + _blob(3, shape)
            request += _blob(5, tensor)
            raw += _blob(7, encode_tensor(array))
        heads: list[dict[str, Any]] = []
        blobs: list[bytes] = []
        for number, value in _fields(self._call("ModelInfer", bytes(request + raw))):
            if number == 5:
                heads.append(_tensor(value))
            elif number == 6:
                blobs.append(value)
        if len(blobs) != len(heads):
            raise GrpcError("INTERNAL", f"{len(heads)} outputs came with {len(blobs)} contents")
        return {
            head["name"]: decode_tensor(blob, head["datatype"], head["shape"])
            for head, blob in zip(heads, blobs, strict=True)
        }

    def _call(self, method: str, request: bytes) -> bytes:
        call: Any = self._channel.unary_unary(f"/{SERVICE}/{method}")
        try:
            return call(request, timeout=self._timeout_s, metadata=self._metadata)
        except self._library.RpcError as error:
            failure: Any = error
            raise GrpcError(failure.code().name, failure.details() or "") from error


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _blob(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _blob(field, text.encode())


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values; numbers as they are, all else as bytes."""
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(content, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(content, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise GrpcError("INTERNAL", f"the answer is no protobuf message (wire type {kind})")
        yield key >> 3, content[at : at + size]
        at += size


def _tensor(content: bytes) -> dict[str, Any]:
    """Name, datatype and shape: the fields 1 to 3 of all tensor messages."""
    name = datatype = ""
    shape: list[int] = []
    for number, value in _fields(content):
        if number == 1:
            name = value.decode()
        elif number == 2:
            datatype = value.decode()
        elif number == 3 and isinstance(value, int):
            shape.append(_signed(value))
        elif number == 3:
            at = 0
            while at < len(value):
                size, at = _read_varint(value, at)
                shape.append(_signed(size))
    return {"name": name, "datatype": datatype, "shape": shape}


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
