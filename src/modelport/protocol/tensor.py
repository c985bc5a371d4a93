"""Tensors between the data plane and NumPy.

- received: `to_array` makes an array of what the data plane gives: a view where there is a buffer
- answered: `to_outputs` makes what the data plane takes of arrays: the arrays themselves where they fit
- binary: `pack` and `unpack` are the layout of the binary tensor extension and of raw gRPC contents
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import numpy as np

from modelport.protocol import frame
from modelport.protocol.datatype import DATATYPES, Array, bf16_to_fp32, datatype_of, numpy_dtype
from modelport.protocol.errors import InferenceError, InvalidInput

if TYPE_CHECKING:
    from modelport._dataplane import Input, Output

_FIXED = {numpy_dtype(name): name for name in DATATYPES if name not in ("BYTES", "BF16")}
"""Dtypes whose arrays travel as they are, if they are C-contiguous."""


def most_axes(asked: int = 64) -> int:
    """How many axes NumPy's arrays may have, up to those that the data plane lets through: 32 before NumPy 2."""
    scalar = np.zeros(1)
    while asked > 1:
        try:
            scalar.reshape((1,) * asked)
        except ValueError:
            asked -= 1
        else:
            break
    return asked


MOST_AXES: Final = most_axes()


def to_array(given: Input) -> Array:
    """An input as an array: a view of its buffer; BYTES as objects (bytes, None); BF16 as float32."""
    array = to_bits(given)
    return bf16_to_fp32(cast("Any", array)) if given[1] == "BF16" else array


def to_bits(given: Input, axes: int = MOST_AXES) -> Array:
    """As `to_array`, but BF16 stays what it is: 16 bits in `uint16`.

    Raises InvalidInput for more axes than NumPy has.
    """
    name, datatype, shape, data, _ = given
    if len(shape) > axes:
        raise too_many_axes(f"inputs.{name}", shape, axes)
    if datatype == "BYTES":
        elements = np.empty(len(cast("list[object]", data)), object)
        elements[:] = data
        return elements.reshape(shape)
    return np.frombuffer(cast("Any", data), numpy_dtype(datatype)).reshape(shape)


def to_outputs(result: Mapping[str, Array]) -> list[Output]:
    """What the data plane takes for named arrays.

    Numbers go as they are (copied only if they are not C-contiguous and little-endian). Everything else is
    BYTES: text and bytes as they are, dates as ISO 8601, missing values (None, NaN, NaT, NA) as null,
    dicts and lists as JSON, other objects as `str` writes them.
    """
    outputs: list[Output] = []
    for name, array in result.items():
        datatype = _FIXED.get(array.dtype)
        if datatype is not None and array.flags.c_contiguous:
            # A buffer needs an axis, a scalar has none.
            outputs.append((name, datatype, array.shape, array if array.ndim else array.reshape(1)))
        else:
            outputs.append(_converted(name, array))
    return outputs


def _converted(name: str, array: Array) -> Output:
    try:
        datatype = datatype_of(array.dtype)
    except ValueError as error:
        raise InferenceError(f"outputs.{name}: {error}") from error
    if datatype != "BYTES":
        return name, datatype, array.shape, np.ascontiguousarray(array, numpy_dtype(datatype))
    return name, "BYTES", array.shape, to_text(array)


def to_text(array: Array) -> list[str | bytes | None]:
    """The elements of an array of strings, dates or objects, row-major, as BYTES carries them."""
    kind = array.dtype.kind
    if kind == "M":
        days = cast("list[str]", np.datetime_as_string(cast("Any", array)).ravel().tolist())  # pyright: ignore[reportUnknownMemberType]
        return [None if day == "NaT" else day for day in days]
    if kind == "m":
        return [None if np.isnat(span) else str(span) for span in array.ravel()]
    elements = array.ravel().tolist()
    if kind in "SU" or {str, bytes} >= set(map(type, elements)):
        return elements
    return [_text(element) for element in elements]


def _plain(value: Any) -> Any:
    # What stands within a dict or list, for JSON.
    if isinstance(value, np.ndarray | np.number | np.bool_):
        array = np.asarray(cast("Any", value))
        return array.tolist() if array.dtype.kind in "biufOU" else array.astype(str).tolist()
    return str(value)


def _text(value: Any) -> str | bytes | None:
    if isinstance(value, str | bytes):
        return value
    if value is None or is_missing(value):
        return None
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    iso = getattr(value, "isoformat", None)
    return iso() if iso is not None else str(value)


def is_missing(value: object) -> bool:
    """Whether a scalar stands for no value: NaN, NaT, pandas' NA."""
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType")


def to_named(result: object, names: Sequence[str] = ()) -> dict[str, Array]:
    """What a model returned, as named arrays.

    A dict and a DataFrame bring their names, as does a Series that has one. One array, scalar or list is
    `output-0`, the members of a tuple are `output-0`, `output-1`…, or as `names` says if it fits in number.
    """
    if isinstance(result, dict):
        members = cast("dict[object, object]", result)
        return {str(name): as_array(value, str(name)) for name, value in members.items()}
    if frame.is_frame(result):
        return frame.columns(result)
    values = cast("tuple[object, ...]", result) if isinstance(result, tuple) else (result,)
    if len(names) != len(values):
        own: object = getattr(values[0], "name", None) if len(values) == 1 else None  # a pandas Series
        names = [own] if isinstance(own, str) else [f"output-{index}" for index in range(len(values))]
    return {name: as_array(value, name) for name, value in zip(names, values, strict=True)}


def as_array(value: object, name: str) -> Array:
    """A NumPy array of an array-like that a model returned for the output `name`."""
    if isinstance(value, np.ndarray):
        return cast("Array", value)
    if isinstance(value, str | bytes) or value is None:
        raise InferenceError(
            f"outputs.{name}: must be an array, got {type(value).__name__}. Return a NumPy array or a list."
        )
    if type(value).__module__ == "torch" and hasattr(value, "detach"):
        value = cast("Any", value).detach().cpu().numpy()
    try:
        array = cast("Array", np.asarray(value))
    except ValueError as error:
        raise InferenceError(f"outputs.{name}: the rows differ in length ({error}).") from error
    if array.dtype.kind == "S" and isinstance(value, list | tuple):
        # NumPy's fixed-width bytes lose trailing zero bytes, which matter in images and the like.
        return np.array(cast("list[object]", value), object)
    return array


def pack(array: Array, datatype: str) -> bytes:
    """The bytes of a tensor: row-major, little-endian; each BYTES element after its length in four bytes."""
    if datatype == "BF16":
        return fp32_to_bf16(array).tobytes()
    if datatype != "BYTES":
        return array.astype(numpy_dtype(datatype), copy=False).tobytes()
    parts: list[bytes] = []
    for element in to_text(array):
        content = element.encode() if isinstance(element, str) else element or b""
        parts += (len(content).to_bytes(4, "little"), content)
    return b"".join(parts)


def packed_size(array: Array, datatype: str) -> int:
    """The length of what `pack` would give."""
    if datatype == "BYTES":
        return len(pack(array, datatype))
    return array.size * numpy_dtype(datatype).itemsize


def unpack(packed: bytes | memoryview, datatype: str, shape: Sequence[int], where: str) -> Array:
    """The inverse of `pack`, as a view where it can be. BF16 gives float32, BYTES an object array of bytes."""
    if datatype == "BYTES":
        elements = _split(packed, where)
        array = np.empty(len(elements), object)
        array[:] = elements
        return reshape(array, shape, where)
    dtype = numpy_dtype(datatype)
    if len(packed) % dtype.itemsize:
        raise InvalidInput(
            f"{where}: {datatype} elements have {dtype.itemsize} bytes each, got {len(packed)} bytes."
        )
    array = reshape(np.frombuffer(packed, dtype), shape, where)
    return bf16_to_fp32(cast("Any", array)) if datatype == "BF16" else array


def _split(packed: bytes | memoryview, where: str) -> list[bytes]:
    content, at = bytes(packed), 0
    elements: list[bytes] = []
    while at < len(content):
        begin = at + 4
        at = begin + int.from_bytes(content[at:begin], "little")
        if at > len(content) or begin > len(content):
            raise InvalidInput(f"{where}: the last BYTES element is cut off.")
        elements.append(content[begin:at])
    return elements


def reshape(array: Array, shape: Sequence[int], where: str) -> Array:
    """The array in the shape, or InvalidInput if the number of elements differs."""
    if len(shape) > MOST_AXES:
        raise too_many_axes(where, shape)
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise InvalidInput(f"{where}: shape {list(shape)} does not fit {array.size} elements.") from error


def too_many_axes(where: str, shape: Sequence[int], axes: int = MOST_AXES) -> InvalidInput:
    """What to say of a shape that no array can have."""
    return InvalidInput(
        f"{where}.shape: must have at most {axes} axes, got {len(shape)} (NumPy {np.__version__} has no more)."
    )


def fp32_to_bf16(array: Array) -> Array:
    """Float32 to BF16 as raw bits, rounded to the nearest, ties to even; NaN stays NaN."""
    floats = np.ascontiguousarray(array, np.float32)
    bits = floats.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return cast("Array", np.where(np.isnan(floats), (bits >> 16) | 0x40, rounded).astype(np.uint16))
