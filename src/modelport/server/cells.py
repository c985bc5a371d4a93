"""The cells of a column as clients send them: numbers, text, integers that stand for text, missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from modelport.protocol.datatype import Array, bf16_to_fp32
from modelport.protocol.errors import InvalidInput
from modelport.server.given import Given
from modelport.server.signature import TensorSpec

_EXACT: Final = 2.0**53
"""Up to here floats tell neighbouring integers apart."""


def numbers(given: Given) -> Array:
    """The numbers of a tensor; BF16 as FP32."""
    return bf16_to_fp32(given.array.astype(np.uint16)) if given.datatype == "BF16" else given.array


def with_nan(array: Array, nulls: Sequence[int]) -> Array:
    """A copy as floats, with NaN where there is a null."""
    floats = array.astype(array.dtype if array.dtype.kind == "f" else np.float64)
    floats.reshape(-1)[list(nulls)] = np.nan
    return floats


def text(given: Given) -> list[str | None]:
    """Elements of a BYTES tensor of rank 1 as text."""
    values = given.array.tolist()
    try:
        return list(map(bytes.decode, values))
    except (TypeError, UnicodeDecodeError):
        return [_decoded(value, row, given.name) for row, value in enumerate(values)]


def _decoded(value: object, row: int, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"row {row}, column {quoted(name)}: not valid UTF-8 ({error.reason} at byte {error.start}). "
            "The model takes text."
        ) from error


def number(text: str, row: int, spec: TensorSpec) -> float:
    """A number that came as text. Raises InvalidInput."""
    try:
        if "_" not in text:  # float() takes 1_000
            return float(text)
    except ValueError:
        pass
    raise InvalidInput(
        f"row {row}, column {quoted(spec.name)}: the model takes a number ({spec.datatype}), got {shown(text)}."
    )


def whole(array: Array, name: str) -> Array:
    """Integers as text, bools as 0 and 1. Floats may stand for integers: those of a matrix have no choice."""
    values: list[float] = array.tolist()
    if array.dtype.kind in "iub":
        return np.array([str(int(value)) for value in values], object)
    for row, value in enumerate(values):
        if value != value:
            raise no_category(row, name)
        if abs(value) > _EXACT or value != int(value):
            raise InvalidInput(
                f"row {row}, column {quoted(name)}: takes text or integers, got {shown(value)}. {AS_TRAINED}"
            )
    return np.array([str(int(value)) for value in values], object)


def no_category(row: int, name: str) -> InvalidInput:
    """What to say of a null among text or integers."""
    return InvalidInput(
        f"row {row}, column {quoted(name)}: null, but the model takes no missing category. "
        "Send the word that stood for it in training."
    )


AS_TRAINED: Final = "Send the text or the integer that it was trained on."


def quoted(name: str) -> str:
    """A name in a sentence."""
    return f'"{name}"'


def shown(value: object) -> str:
    """A value in a sentence, cut to a length that fits."""
    text = quoted(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
