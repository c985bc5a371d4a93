"""Tensors of requests and responses, with the constructors and methods of KServe's SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

import numpy as np

from modelport.protocol.datatype import DATATYPES, Array, datatype_of, numpy_dtype
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.frame import as_text
from modelport.protocol.tensor import pack, packed_size, reshape, to_text, unpack

Parameters = dict[str, Any]
JSON_ONLY_BINARY = ("FP16", "BF16")
"""Datatypes that JSON does not carry."""


class InferTensor:
    """A named tensor. `_array` holds the data, or `_data` what the caller gave or may have changed."""

    side = "tensor"
    """Of a message: `input` or `output`."""

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

    def set_raw(self, raw: bytes | memoryview) -> None:
        """Sets the data from the layout of the binary extension, which is read when they are asked for."""
        self._raw = raw

    def has_data(self) -> bool:
        """Whether there are data, however held."""
        return self._data is not None or self._array is not None or self._raw is not None

    def as_numpy(self) -> Array:
        """The data as an array of the tensor's shape.

        BF16 is float32. BYTES is an array of objects: the `str` or `bytes` that were given or received.
        Raises InvalidInput if datatype, data and shape do not fit together.
        """
        where = f"{self.side}s.{self._name}"
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
            return objects(data)
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
                f"{self.side}s.{self._name}: must be a NumPy array, got {type(array).__name__}."
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
            array = objects(to_text(array)).reshape(array.shape)
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
                f"Please use the binary data format for {self.side} {self._name}"
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
                    f"{self.side}s.{self._name}: holds bytes that are not UTF-8, which JSON cannot carry. "
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


def objects(data: Any) -> Array:
    """A flat array of objects out of a list, nested or not."""
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


class InferInput(InferTensor):
    """An input tensor of a request: `InferInput(name, shape, datatype, data=None, parameters=None)`.

    `data` is a list, nested or flat, or a NumPy array.
    """

    side = "input"

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


class InferOutput(InferTensor):
    """An output tensor of a response: `InferOutput(name, shape, datatype, data=None, parameters=None)`.

    `data` is a list, nested or flat, or a NumPy array.
    """

    side = "output"


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
