"""pandas, where it is wanted: the only file of this room that knows it, and it imports pandas late or never."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InvalidInput

Frame: TypeAlias = Any
"""A pandas DataFrame. (pandas ships no types.)"""


def pandas() -> Any:
    """The module, imported now if it was not. Raises ImportError with the cure."""
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("This needs pandas, which is not installed: pip install pandas") from error


def is_frame(value: object) -> bool:
    """Whether it is a DataFrame."""
    module = sys.modules.get("pandas")
    return module is not None and isinstance(value, module.DataFrame)


def is_series(value: object) -> bool:
    """Whether it is a Series."""
    module = sys.modules.get("pandas")
    return module is not None and isinstance(value, module.Series)


def columns(frame: Frame) -> dict[str, Array]:
    """The columns by name."""
    return {str(name): column.to_numpy() for name, column in frame.items()}


def to_frame(arrays: Mapping[str, Array]) -> Frame:
    """A DataFrame of named arrays, one column each; a single matrix gives as many columns as it has.

    Bytes that are UTF-8 become text. Raises InvalidInput for shapes that are no columns.
    """
    if len(arrays) == 1:
        ((_, matrix),) = arrays.items()
        if matrix.ndim == 2 and matrix.shape[1] != 1:
            return pandas().DataFrame(matrix)
    data: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.ndim == 0 or array.size != array.shape[0]:
            raise InvalidInput(
                f"inputs.{name}: must be a column [rows] or [rows, 1], got shape {list(array.shape)}."
            )
        column = array.reshape(array.shape[0])
        data[name] = as_text(column.tolist()) if column.dtype == object else column
    lengths = {len(column) for column in data.values()}
    if len(lengths) > 1:
        raise InvalidInput(f"inputs: columns must have the same number of rows, got {sorted(lengths)}.")
    return pandas().DataFrame(data)


def as_text(values: list[Any]) -> list[Any]:
    """Bytes that are UTF-8 as str; everything else as it is."""
    return [_decoded(value) if isinstance(value, bytes) else value for value in values]


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
