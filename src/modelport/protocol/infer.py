"""Requests and responses of the Open Inference Protocol, with the constructors and methods of KServe's SDK.

A predictor written for KServe runs after changing `from kserve import` to `from modelport import`. What differs:

- Data are held as NumPy arrays and become Python lists only where `.data` is read.
- Text that came by REST is `str`, by gRPC `bytes`, as in KServe; `as_string` decodes both. BF16 is known
  (`as_numpy` gives float32).
- `to_grpc` and `from_grpc` do not exist: gRPC messages are read and written by the data plane, and generated
  protobuf classes of ours would clash with those of other clients in the same process.
- A requested output that says nothing about binary data follows the request's `binary_data_output`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from modelport.protocol import infer_rest as rest
from modelport.protocol import json
from modelport.protocol.errors import InvalidInput
from modelport.protocol.frame import Frame, pandas, to_frame
from modelport.protocol.infer_tensor import InferInput, InferOutput, InferTensor, Parameters, RequestedOutput


class InferRequest:
    """An inference request."""

    def __init__(
        self,
        model_name: str,
        infer_inputs: list[InferInput],
        request_id: str | None = None,
        raw_inputs: Sequence[bytes] | None = None,
        from_grpc: bool = False,
        parameters: Parameters | None = None,
        request_outputs: list[RequestedOutput] | None = None,
        model_version: str | None = None,
    ) -> None:
        self.id = request_id
        self.model_name = model_name
        self.model_version = model_version
        self.inputs = infer_inputs
        self.parameters = parameters
        self.from_grpc = from_grpc
        self.request_outputs = request_outputs
        self._raw_inputs = bool(raw_inputs)
        _set_raw(self.inputs, raw_inputs)

    @property
    def use_binary_outputs(self) -> bool:
        """Whether outputs should travel as binary unless they say otherwise."""
        if self.from_grpc:
            return self._raw_inputs
        return bool((self.parameters or {}).get("binary_data_output", False))

    @classmethod
    def from_rest(cls, request: Mapping[str, Any], model_name: str) -> InferRequest:
        """A request from its JSON, already parsed. Raises InvalidInput naming the field that is wrong."""
        return _request(request, model_name, b"")

    @classmethod
    def from_inference_request(cls, request: Any, model_name: str) -> InferRequest:
        """A request from a dict or from a pydantic model such as KServe's InferenceRequest."""
        message: Any = request.model_dump() if hasattr(request, "model_dump") else request
        return cls.from_rest(message, model_name)

    @classmethod
    def from_bytes(cls, req_bytes: bytes, json_length: int, model_name: str) -> InferRequest:
        """A request from a body with the binary extension: `json_length` bytes of JSON, then the tensors.

        The tensors are views of the body.
        """
        return _request(json.decode(req_bytes[:json_length]), model_name, req_bytes[json_length:])

    def to_rest(self) -> tuple[dict[str, Any] | bytes, int | None]:
        """The request for REST: a dict and None, or with binary inputs the body and the length of its JSON."""
        message: dict[str, Any] = {"id": self.id or str(uuid.uuid4()), "model_name": self.model_name}
        parts: list[bytes] = []
        message["inputs"] = [
            rest.part(tensor, tensor.is_binary, parts, self.model_name) for tensor in self.inputs
        ]
        if self.request_outputs:
            message["outputs"] = [
                {"name": output.name} | ({"parameters": output.parameters} if output.parameters else {})
                for output in self.request_outputs
            ]
        if self.parameters:
            message["parameters"] = self.parameters
        return rest.body(message, parts)

    def as_dataframe(self) -> Frame:
        """The inputs as the columns of a DataFrame; BYTES as text. A matrix input gives one column a column."""
        frames: list[Frame] = []
        for tensor in self.inputs:
            array = tensor.as_numpy()
            if array.ndim == 2 and array.shape[1] != 1 and len(self.inputs) > 1:
                raise InvalidInput(
                    f"inputs.{tensor.name}: must be a column [rows] or [rows, 1], got shape {tensor.shape}."
                )
            frames.append(to_frame({tensor.name: array}))
        return pandas().concat(frames, axis=1) if frames else pandas().DataFrame()

    def get_input_by_name(self, name: str) -> InferInput | None:
        """The input of this name, or None."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Id, model name, inputs (data as lists), parameters and whether it came by gRPC."""
        return {
            "id": self.id,
            "model_name": self.model_name,
            "inputs": [tensor.to_dict() for tensor in self.inputs],
            "parameters": self.parameters,
            "from_grpc": self.from_grpc,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InferRequest):
            return False
        return (
            (self.id, self.model_name, self.from_grpc, self.parameters)
            == (other.id, other.model_name, other.from_grpc, other.parameters)
            and self.inputs == other.inputs
            and self.request_outputs == other.request_outputs
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"InferRequest({self.model_name!r}, {self.inputs}, request_id={self.id!r})"


class InferResponse:
    """An inference response.

    Returned by a model, its outputs and parameters reach the client; id, model name and version are the
    server's to say.
    """

    def __init__(
        self,
        response_id: str | None,
        model_name: str,
        infer_outputs: list[InferOutput],
        model_version: str | None = None,
        raw_outputs: Sequence[bytes] | None = None,
        from_grpc: bool = False,
        parameters: Parameters | None = None,
        use_binary_outputs: bool = False,
        requested_outputs: list[RequestedOutput] | None = None,
    ) -> None:
        self.id = response_id
        self.model_name = model_name
        self.model_version = model_version
        self.outputs = infer_outputs
        self.parameters = parameters
        self.from_grpc = from_grpc
        self._requested_outputs = requested_outputs
        self._use_binary_outputs = use_binary_outputs
        _set_raw(self.outputs, raw_outputs)

    @classmethod
    def from_rest(cls, response: Mapping[str, Any]) -> InferResponse:
        """A response from its JSON, already parsed. Raises InvalidInput naming the field that is wrong."""
        return _response(response, b"")

    @classmethod
    def from_bytes(cls, res_bytes: bytes, json_length: int) -> InferResponse:
        """A response from a body with the binary extension: `json_length` bytes of JSON, then the tensors."""
        return _response(json.decode(res_bytes[:json_length]), res_bytes[json_length:])

    def to_rest(self) -> tuple[dict[str, Any] | bytes, int | None]:
        """The response for REST: a dict and None, or with binary outputs the body and the length of its JSON."""
        parts: list[bytes] = []
        message: dict[str, Any] = {
            "id": self.id,
            "model_name": self.model_name,
            "model_version": self.model_version,
            "outputs": [
                rest.part(tensor, binary, parts, self.model_name) for tensor, binary in self._selected()
            ],
        }
        if self.parameters:
            message["parameters"] = self.parameters
        return rest.body(message, parts)

    def _selected(self) -> list[tuple[InferOutput, bool]]:
        if not self._requested_outputs:
            return [(output, self._use_binary_outputs) for output in self.outputs]
        selected: list[tuple[InferOutput, bool]] = []
        for requested in self._requested_outputs:
            output = self.get_output_by_name(requested.name)
            if output is None:
                raise InvalidInput(
                    f"Unexpected inference output '{requested.name}' for model '{self.model_name}'"
                )
            binary = requested.binary_data
            selected.append((output, self._use_binary_outputs if binary is None else binary))
        return selected

    def get_output_by_name(self, name: str) -> InferOutput | None:
        """The output of this name, or None."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Id, model name, outputs (data as lists), parameters and whether it came by gRPC."""
        return {
            "id": self.id,
            "model_name": self.model_name,
            "outputs": [tensor.to_dict() for tensor in self.outputs],
            "parameters": self.parameters,
            "from_grpc": self.from_grpc,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InferResponse):
            return False
        return (self.id, self.model_name, self.model_version, self.from_grpc, self.parameters) == (
            other.id,
            other.model_name,
            other.model_version,
            other.from_grpc,
            other.parameters,
        ) and self.outputs == other.outputs

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"InferResponse({self.id!r}, {self.model_name!r}, {self.outputs})"


def _set_raw(tensors: Sequence[InferTensor], raws: Sequence[bytes] | None) -> None:
    for tensor, raw in zip(tensors, raws or (), strict=False):
        tensor.set_raw(raw)


def _request(message: object, model_name: str, binary: bytes) -> InferRequest:
    request = rest.converted(message, rest.RequestMessage)
    return InferRequest(
        model_name=model_name,
        infer_inputs=rest.tensors(InferInput, request.inputs, binary, model_name),
        request_id=request.id,
        parameters=request.parameters,
        request_outputs=None
        if request.outputs is None
        else [RequestedOutput(output.name, output.parameters) for output in request.outputs],
    )


def _response(message: object, binary: bytes) -> InferResponse:
    response = rest.converted(message, rest.ResponseMessage)
    return InferResponse(
        response_id=response.id,
        model_name=response.model_name,
        infer_outputs=rest.tensors(InferOutput, response.outputs, binary, response.model_name),
        model_version=response.model_version,
        parameters=response.parameters,
    )
