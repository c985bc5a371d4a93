"""A REST client for one server, over kept-alive connections of the standard library.

ClientError     what the server said no to
└── its `status` is the HTTP status, its text the server's sentence
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, urlsplit

import numpy as np

from modelport.protocol.datatype import Array, datatype_of, numpy_dtype

LENGTH = "Inference-Header-Content-Length"


class ClientError(Exception):
    """The server answered with an error. `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Client:
    """Asks one server; safe to share between threads."""

    def __init__(self, url: str, model: str = "model", timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._timeout_s = timeout_s
        self._local = threading.local()

    def predict(self, instances: Any, *, model: str | None = None, **parameters: bool | float | str) -> Any:
        """V1: predictions for rows, given as a list, an array or a DataFrame (its rows become objects)."""
        body: dict[str, Any] = {"instances": _rows(instances)}
        if parameters:
            body["parameters"] = parameters
        return self._json("POST", f"/v1/models/{self._name(model)}:predict", body)["predictions"]

    def explain(self, instances: Any, *, model: str | None = None) -> Any:
        """V1: the explanation of rows."""
        return self._json("POST", f"/v1/models/{self._name(model)}:explain", {"instances": _rows(instances)})

    def infer(
        self,
        inputs: Mapping[str, Array] | Array,
        *,
        model: str | None = None,
        **parameters: bool | float | str,
    ) -> dict[str, Array]:
        """V2 with binary tensors: outputs by name. Text is an object array of `str` both ways.

        An array alone is for a model with one input, which may have any name.
        """
        if isinstance(inputs, np.ndarray | list):
            inputs = {"input-0": np.asarray(inputs)}
        tensors: list[dict[str, Any]] = []
        blobs: list[bytes] = []
        for name, array in inputs.items():
            array = np.ascontiguousarray(array)
            blob = encode_tensor(array)
            tensors.append(
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": datatype_of(array.dtype),
                    "parameters": {"binary_data_size": len(blob)},
                }
            )
            blobs.append(blob)
        head = json.dumps(
            {"inputs": tensors, "parameters": {**parameters, "binary_data_output": True}}
        ).encode()
        headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
        path = f"/v2/models/{self._name(model)}/infer"
        body, answered = self._send("POST", path, head + b"".join(blobs), headers)
        split = int(answered.get(LENGTH.lower(), len(body)))
        return _outputs(json.loads(body[:split]), memoryview(body)[split:])

    def metadata(self, *, model: str | None = None) -> dict[str, Any]:
        """V2 metadata of the model."""
        return self._json("GET", f"/v2/models/{self._name(model)}")

    def ready(self) -> bool:
        """Whether the server and all its models serve."""
        try:
            return bool(self._json("GET", "/v2/health/ready")["ready"])
        except (ClientError, OSError):
            return False

    def close(self) -> None:
        """Closes this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def _name(self, model: str | None) -> str:
        return quote(model or self.model, safe="")

    def _json(self, verb: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body, default=_plain).encode()
        return json.loads(self._send(verb, path, content, {"Content-Type": "application/json"})[0])

    def _send(
        self, verb: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[bytes, dict[str, str]]:
        connection = self._connection()
        try:
            connection.request(verb, path, body, headers)
            response = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()  # a kept-alive connection that the server has closed meanwhile
            connection.request(verb, path, body, headers)
            response = connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise ClientError(response.status, _message(content))
        return content, {name.lower(): value for name, value in response.getheaders()}

    def _connection(self) -> http.client.HTTPConnection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            parts = urlsplit(self.url)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            connection = kind(cast("str", parts.hostname), parts.port, timeout=self._timeout_s)
            self._local.connection = connection
        return connection


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")


def _rows(instances: Any) -> Any:
    if hasattr(instances, "to_dict") and hasattr(instances, "columns"):
        return [
            {name: None if value != value else value for name, value in row.items()}
            for row in instances.to_dict(orient="records")
        ]
    rows: Any = instances
    return rows.tolist() if hasattr(rows, "tolist") else rows


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def encode_tensor(array: Array) -> bytes:
    """Raw contents of a tensor, as the binary extension and gRPC carry them."""
    if datatype_of(array.dtype) != "BYTES":
        return array.tobytes()
    parts: list[bytes] = []
    for element in array.ravel():
        text = element if isinstance(element, bytes) else str(element).encode()
        parts += (len(text).to_bytes(4, "little"), text)
    return b"".join(parts)


def _outputs(head: dict[str, Any], blob: memoryview) -> dict[str, Array]:
    outputs: dict[str, Array] = {}
    offset = 0
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        shape, datatype = output["shape"], output["datatype"]
        if size is None:
            values: Any = output["data"]
            outputs[output["name"]] = np.array(values, dtype=numpy_dtype(datatype)).reshape(shape)
            continue
        part = blob[offset : offset + size]
        offset += size
        outputs[output["name"]] = decode_tensor(part, datatype, shape)
    return outputs


def decode_tensor(part: memoryview | bytes, datatype: str, shape: list[int]) -> Array:
    """A tensor out of its raw contents."""
    if datatype == "BYTES":
        return _strings(memoryview(part)).reshape(shape)
    return np.frombuffer(part, dtype=numpy_dtype(datatype)).reshape(shape)


def _strings(part: memoryview) -> Array:
    elements: list[str] = []
    offset = 0
    while offset < len(part):
        length = int.from_bytes(part[offset : offset + 4], "little")
        elements.append(bytes(part[offset + 4 : offset + 4 + length]).decode())
        offset += 4 + length
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array
