"""JSON as models return it: NumPy, pandas, dates and text among the ordinary values."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import numpy as np

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.frame import Frame, columns, is_frame, is_series
from modelport.protocol.tensor import is_missing, to_text

_PLAIN = {str, int, float, bool, type(None)}


def decode(body: bytes) -> Any:
    """The value of a JSON text. Raises InvalidInput with KServe's words."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"Unrecognized request format: {error}") from error


def encode(value: object) -> bytes:
    """The JSON text of what a model returned; NaN and other missing values are null, bytes are text.

    Raises InferenceError for bytes that are not UTF-8 and for objects that JSON cannot hold.
    """
    try:
        return _ENCODER.encode(_without_bytes(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InferenceError(f"The model's result cannot be written as JSON: {error}") from error


def _without_bytes(value: Any) -> Any:
    # msgspec writes bytes as base64 without asking; KServe's clients expect text. Looking at the types of
    # a list at once keeps this cheap for long lists of numbers.
    if isinstance(value, bytes | bytearray):
        return _text(bytes(value))
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        if set(map(type, members.values())) <= _PLAIN and bytes not in set(map(type, members)):
            return members
        return {_without_bytes(key): _without_bytes(member) for key, member in members.items()}
    if isinstance(value, list | tuple):
        elements = cast("list[Any]", value)
        return elements if set(map(type, elements)) <= _PLAIN else [_without_bytes(one) for one in elements]
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        shown = base64.b64encode(value[:12]).decode()
        raise InferenceError(
            f"The model's result holds bytes that are not UTF-8 (base64 {shown}…). "
            "Return text, or bytes alone as the whole result."
        ) from error


def _hook(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain_array(cast("Array", value))
    if isinstance(value, np.generic):
        return _plain_array(np.asarray(cast("Any", value)))
    if is_frame(value):
        return rows(value)
    if is_series(value):
        return _plain_array(value.to_numpy())
    if is_missing(value):
        return None
    for convert in ("to_dict", "isoformat", "tolist"):
        if (method := getattr(value, convert, None)) is not None:
            return method()
    if isinstance(value, Mapping):
        return _without_bytes(dict(cast("Mapping[Any, Any]", value)))
    if hasattr(value, "__array__"):
        return _plain_array(np.asarray(value))
    raise TypeError(f"objects of type {type(value).__qualname__} have no JSON form.")


def _plain_array(array: Array) -> Any:
    if array.dtype.kind in "SMm":
        texts = np.array([_without_bytes(text) for text in to_text(array)], object)
        return texts.reshape(array.shape).tolist()
    return _without_bytes(array.tolist())


def rows(frame: Frame) -> list[dict[str, Any]]:
    """A DataFrame as V1 writes it: a dict a row."""
    arrays = columns(frame)
    lists = [_plain_array(array) for array in arrays.values()]
    return [dict(zip(arrays, row, strict=True)) for row in zip(*lists, strict=True)]


_ENCODER = msgspec.json.Encoder(enc_hook=_hook)
