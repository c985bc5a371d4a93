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
from typing import Any, Self, TypeVar, cast

import msgspec
import numpy as np

from modelport.protocol import json
from modelport.protocol.datatype import DATATYPES, Array, datatype_of, numpy_dtype
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.frame import Frame, as_text, is_frame, pandas, to_frame
from modelport.protocol.tensor import pack, packed_size, reshape, to_named, to_text, unpack

Parameters = dict[str, Any]
JSON_ONLY_BINARY = ("FP16", "BF16")
"""Datatypes that JSON does not carry."""


class _Tensor:
    """A named tensor. `_array` holds the data, or `_data` what the caller gave or may have changed."""

    _side = "tensor"

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        datatype: str,
        data: Any = None,
        parameters: Parameters | None = None,
    ) -> None:
        self._name = name
        self._shape = list(shape)
        self._datatype = datatype.upper()
        self._parameters = parameters
        self._data: Any = data
        self._array: Array | None = None
        self._raw: bytes | memoryview | None = None

    @classmethod
    def of_array(
        cls, name: str, array: Array, datatype: str | None = None, parameters: Parameters | None = None
    ) -> Self:
        """A tensor over an array, which is not copied."""
        tensor = cls(name, array.shape, datatype or datatype_of(array.dtype), parameters=parameters)
        tensor._array = array
        return tensor

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self._name

    @property
    def datatype(self) -> str:
        """The datatype, such as `FP32`."""
        return self._datatype

    @property
    def shape(self) -> list[int]:
        """The number of elements along each axis."""
        return self._shape

    @shape.setter
    def shape(self, shape: Sequence[int]) -> None:
        self._shape = list(shape)

    @property
    def parameters(self) -> Parameters | None:
        """The tensor's own parameters."""
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters

    @property
    def data(self) -> Any:
        """The data as given, else a flat list made now; None if there are none. `as_numpy` is much cheaper."""
        if self._data is None and (self._array is not None or self._raw is not None):
            # The list may be changed by whoever asked for it, so that from here on it is what counts.
            array = self.as_numpy()
            self._data = to_text(array) if self._datatype == "BYTES" else array.ravel().tolist()
            self._array = self._raw = None
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._data = data
        self._array = self._raw = None

    def has_data(self) -> bool:
        """Whether there are data, however held."""
        return self._data is not None or self._array is not None or self._raw is not None

    def as_numpy(self) -> Array:
        """The data as an array of the tensor's shape.

        BF16 is float32. BYTES is an array of objects: the `str` or `bytes` that were given or received.
        Raises InvalidInput if datatype, data and shape do not fit together.
        """
        where = f"{self._side}s.{self._name}"
        if self._datatype not in DATATYPES:
            raise InvalidInput(
                f"{where}: datatype must be one of {', '.join(DATATYPES)}, got {self._datatype}."
            )
        if self._array is not None:
            return reshape(self._array, self._shape, where)
        if self._raw is not None:
            return unpack(self._raw, self._datatype, self._shape, where)
        if self._data is None:
            raise InvalidInput(f"{where}: has no data.")
        return reshape(self._parsed(where), self._shape, where)

    def _parsed(self, where: str) -> Array:
        data: Any = self._data
        if isinstance(data, np.ndarray):
            array = cast("Array", data)
            wanted = np.dtype(np.float32) if self._datatype == "BF16" else numpy_dtype(self._datatype)
            return array if array.dtype == wanted else array.astype(wanted)
        if self._datatype == "BYTES":
            return _objects(data)
        try:
            dtype = np.dtype(np.float32) if self._datatype == "BF16" else numpy_dtype(self._datatype)
            return np.array(data, dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{where}: data are not {self._datatype} values ({error}).") from error

    def set_data_from_numpy(self, array: Array, binary_data: bool = True) -> None:
        """Sets the data from an array of the tensor's datatype and shape.

        With `binary_data` (the default, as in KServe) they travel over REST as binary after the JSON;
        False puts them into the JSON, for servers without the binary extension.
        """
        if not isinstance(array, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InferenceError(
                f"{self._side}s.{self._name}: must be a NumPy array, got {type(array).__name__}."
            )
        datatype = datatype_of(array.dtype)
        if datatype != self._datatype and (self._datatype, datatype) != ("BF16", "FP32"):
            raise InferenceError(
                f"got unexpected datatype {datatype} from numpy array, expected {self._datatype}"
            )
        if list(array.shape) != self._shape:
            raise InferenceError(
                f"got unexpected numpy array shape {list(array.shape)}, expected {self._shape}"
            )
        if datatype == "BYTES" and array.dtype != object:
            array = _objects(to_text(array)).reshape(array.shape)
        self._data, self._raw, self._array = None, None, array
        if binary_data:
            self._parameters = (self._parameters or {}) | {
                "binary_data_size": packed_size(array, self._datatype)
            }
        elif self._parameters:
            self._parameters.pop("binary_data_size", None)

    def to_dict(self) -> dict[str, Any]:
        """Name, shape, datatype, data (a list) and parameters."""
        return {
            "name": self._name,
            "shape": self._shape,
            "datatype": self._datatype,
            "data": self.data,
            "parameters": self._parameters,
        }

    @property
    def is_binary(self) -> bool:
        """Whether the data were set or received as binary."""
        return self._raw is not None or "binary_data_size" in (self._parameters or {})

    def to_bytes(self) -> bytes:
        """The data in the layout of the binary extension."""
        return bytes(self._raw) if self._raw is not None else pack(self.as_numpy(), self._datatype)

    def to_part(self, binary: bool) -> tuple[dict[str, Any], bytes | None]:
        """The tensor in a REST message: its JSON, and its bytes if it travels as binary."""
        part: dict[str, Any] = {"name": self._name, "shape": self._shape, "datatype": self._datatype}
        parameters = {
            key: value for key, value in (self._parameters or {}).items() if key != "binary_data_size"
        }
        content = None
        if binary:
            content = self.to_bytes()
            parameters["binary_data_size"] = len(content)
        elif self._datatype in JSON_ONLY_BINARY:
            raise InvalidInput(
                f"Sending {self._datatype} data via JSON is not supported. "
                f"Please use the binary data format for {self._side} {self._name}"
            )
        if parameters:
            part["parameters"] = parameters
        if not binary:
            part["data"] = self._json_data()
        return part, content

    def _json_data(self) -> Any:
        if self._datatype == "BYTES":
            texts = as_text(to_text(self.as_numpy()))
            if bytes in set(map(type, texts)):
                raise InferenceError(
                    f"{self._side}s.{self._name}: holds bytes that are not UTF-8, which JSON cannot carry. "
                    "Please use binary_data=True."
                )
            return texts
        data: Any = self._data
        if isinstance(data, list):
            return cast("list[Any]", data)
        return self.as_numpy().ravel().tolist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        if (self._name, self._shape, self._datatype) != (other._name, other._shape, other._datatype):
            return False
        if self._parameters != other._parameters or self.has_data() != other.has_data():
            return False
        ours: Any = self._data
        theirs: Any = other._data
        if isinstance(ours, list) and isinstance(theirs, list):
            return bool(ours == theirs)
        return not self.has_data() or _same(self.as_numpy(), other.as_numpy())

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self._shape}, {self._datatype!r})"


def _objects(data: Any) -> Array:
    # np.array(…, dtype=object) would also take apart what is inside the elements.
    flat: list[Any] = list(data)
    while any(isinstance(element, list) for element in flat):
        flat = [inner for element in flat for inner in _elements(element)]
    array = np.empty(len(flat), object)
    array[:] = flat
    return array


def _elements(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _same(one: Array, other: Array) -> bool:
    if one.dtype == object or other.dtype == object:
        return one.tolist() == other.tolist()
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


class InferInput(_Tensor):
    """An input tensor of a request: `InferInput(name, shape, datatype, data=None, parameters=None)`.

    `data` is a list, nested or flat, or a NumPy array.
    """

    _side = "input"

    def as_string(self) -> list[str]:
        """The elements of a BYTES tensor as text, in row-major order. Raises InvalidInput for others."""
        if self._datatype != "BYTES":
            raise InvalidInput(f"invalid datatype {self._datatype} in the input")
        try:
            return [
                element.decode() if isinstance(element, bytes) else element or ""
                for element in to_text(self.as_numpy())
            ]
        except UnicodeDecodeError as error:
            raise InvalidInput(f"inputs.{self._name}: is not UTF-8 text ({error}).") from error


class InferOutput(_Tensor):
    """An output tensor of a response: `InferOutput(name, shape, datatype, data=None, parameters=None)`.

    `data` is a list, nested or flat, or a NumPy array.
    """

    _side = "output"


class RequestedOutput:
    """An output that a client asks for by name; the parameter `binary_data` says how it should travel."""

    def __init__(self, name: str, parameters: Parameters | None = None) -> None:
        self._name = name
        self.parameters = parameters

    @property
    def name(self) -> str:
        """The output's name."""
        return self._name

    @property
    def binary_data(self) -> bool | None:
        """Whether the output should travel as binary; None leaves it to the request."""
        return (self.parameters or {}).get("binary_data")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RequestedOutput):
            return False
        return (self._name, self.parameters) == (other._name, other.parameters)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"RequestedOutput({self._name!r}, {self.parameters})"


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
            _part(tensor, tensor.is_binary, parts, self.model_name) for tensor in self.inputs
        ]
        if self.request_outputs:
            message["outputs"] = [
                {"name": output.name} | ({"parameters": output.parameters} if output.parameters else {})
                for output in self.request_outputs
            ]
        if self.parameters:
            message["parameters"] = self.parameters
        return _message(message, parts)

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
            "outputs": [_part(tensor, binary, parts, self.model_name) for tensor, binary in self._selected()],
        }
        if self.parameters:
            message["parameters"] = self.parameters
        return _message(message, parts)

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


def get_predict_input(payload: object, columns: list[str] | None = None) -> Any:
    """What a model predicts from, as `kserve.utils.utils.get_predict_input` has it.

    V1: `inputs` or `instances`; rows that are dicts (or lists of dicts) are a DataFrame, text is a list of
    str, anything else an array. InferRequest: a DataFrame if the parameter `content_type` is `pd`, else the
    first input, text as a list of str.
    """
    if isinstance(payload, dict):
        body = cast("dict[str, Any]", payload)
        for key in ("inputs", "instances"):
            if key in body:
                return _rows(body[key], key, columns)
        raise InvalidInput('body: must have "instances" (or "inputs"), a list of rows.')
    if isinstance(payload, InferRequest):
        if (payload.parameters or {}).get("content_type") == "pd":
            return payload.as_dataframe()
        if not payload.inputs:
            raise InvalidInput("inputs: must have at least one tensor.")
        tensor = payload.inputs[0]
        array = tensor.as_numpy()
        if tensor.datatype == "BYTES" and array.size and isinstance(array.flat[0], str):
            return tensor.data
        return array
    raise InvalidInput(f"unsupported payload type {type(payload)}")


def _rows(rows: Any, key: str, columns: list[str] | None) -> Any:
    if not isinstance(rows, list):
        raise InvalidInput(f'Expected "{key}" to be a list')
    instances = cast("list[Any]", rows)
    first = instances[0] if instances else None
    if isinstance(first, dict) or (isinstance(first, list) and first and isinstance(first[0], dict)):
        pd = pandas()
        if isinstance(first, dict) and all(map(_is_record, instances)):
            return pd.DataFrame.from_records(instances, columns=columns)
        return pd.concat([pd.DataFrame(instance, columns=columns) for instance in instances], axis=0)
    if isinstance(first, str):
        return instances
    try:
        return np.array(instances)
    except ValueError as error:
        raise InvalidInput(f"{key}: the rows differ in length ({error}).") from error


def _is_record(row: Any) -> bool:
    """Whether a row has a scalar for every column; KServe also takes columns of lists, which are more rows."""
    return isinstance(row, dict) and not any(
        isinstance(value, list | dict) for value in cast("dict[str, Any]", row).values()
    )


def get_predict_response(payload: object, result: Any, model_name: str) -> dict[str, Any] | InferResponse:
    """The response to a request, as `kserve.utils.utils.get_predict_response` has it.

    V1: a dict with `predictions`. InferRequest: an InferResponse with one output a column of a DataFrame,
    else one output `output-0`.
    """
    if isinstance(payload, dict):
        if is_frame(result):
            return {"predictions": json.rows(result)}
        return {"predictions": result.tolist() if isinstance(result, np.ndarray) else result}
    if isinstance(payload, InferRequest):
        named = to_named(result if is_frame(result) else (result,))
        return InferResponse(
            response_id=payload.id or str(uuid.uuid4()),
            model_name=model_name,
            infer_outputs=[
                InferOutput.of_array(name, _objects(to_text(array)).reshape(array.shape))
                if datatype_of(array.dtype) == "BYTES"
                else InferOutput.of_array(name, array)
                for name, array in named.items()
            ],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )
    raise InvalidInput(f"unsupported payload type {type(payload)}")


def _set_raw(tensors: Sequence[_Tensor], raws: Sequence[bytes | memoryview] | None) -> None:
    for tensor, raw in zip(tensors, raws or (), strict=False):
        tensor._raw = raw  # pyright: ignore[reportPrivateUsage]


def _part(tensor: _Tensor, binary: bool, parts: list[bytes], model_name: str) -> dict[str, Any]:
    if not tensor.has_data():
        side = tensor._side  # pyright: ignore[reportPrivateUsage]
        raise InvalidInput(f"'data' field is missing for {side} '{tensor.name}' for model '{model_name}'")
    part, content = tensor.to_part(binary)
    if content is not None:
        parts.append(content)
    return part


def _message(message: dict[str, Any], parts: list[bytes]) -> tuple[dict[str, Any] | bytes, int | None]:
    if not parts:
        return message, None
    head = msgspec.json.encode(message)
    return b"".join((head, *parts)), len(head)


class _TensorMessage(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: Parameters | None = None


class _OutputMessage(msgspec.Struct):
    name: str
    parameters: Parameters | None = None


class _RequestMessage(msgspec.Struct):
    inputs: list[_TensorMessage]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[_OutputMessage] | None = None


class _ResponseMessage(msgspec.Struct):
    outputs: list[_TensorMessage]
    id: str | None = None
    model_name: str = ""
    model_version: str | None = None
    parameters: Parameters | None = None


_T = TypeVar("_T", bound=_Tensor)
_M = TypeVar("_M")


def _request(message: object, model_name: str, binary: bytes) -> InferRequest:
    request = _converted(message, _RequestMessage)
    return InferRequest(
        model_name=model_name,
        infer_inputs=_tensors(InferInput, request.inputs, binary, model_name),
        request_id=request.id,
        parameters=request.parameters,
        request_outputs=None
        if request.outputs is None
        else [RequestedOutput(output.name, output.parameters) for output in request.outputs],
    )


def _response(message: object, binary: bytes) -> InferResponse:
    response = _converted(message, _ResponseMessage)
    return InferResponse(
        response_id=response.id,
        model_name=response.model_name,
        infer_outputs=_tensors(InferOutput, response.outputs, binary, response.model_name),
        model_version=response.model_version,
        parameters=response.parameters,
    )


def _converted(message: object, kind: type[_M]) -> _M:
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise InvalidInput(f"{where.rstrip('`') or 'body'}: {what}.") from error


def _tensors(kind: type[_T], messages: list[_TensorMessage], binary: bytes, model_name: str) -> list[_T]:
    rest = memoryview(binary)
    tensors: list[_T] = []
    for message in messages:
        parameters = message.parameters
        tensor = kind(message.name, message.shape, message.datatype, message.data, parameters)
        size = (parameters or {}).get("binary_data_size")
        if message.data is None:
            if not isinstance(size, int):
                raise InvalidInput(
                    f"'data' field is missing for {kind._side} '{message.name}' for model '{model_name}'"  # pyright: ignore[reportPrivateUsage]
                )
            if not 0 <= size <= len(rest):
                raise InvalidInput(
                    f"{kind._side}s.{message.name}: binary_data_size is {size}, "  # pyright: ignore[reportPrivateUsage]
                    f"but only {len(rest)} bytes are left."
                )
            _set_raw([tensor], [rest[:size]])
            rest = rest[size:]
        tensors.append(tensor)
    if len(rest):
        raise InvalidInput(f"body: {len(rest)} bytes follow the last tensor. Check binary_data_size.")
    return tensors
