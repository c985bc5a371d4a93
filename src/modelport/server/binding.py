"""From a request's tensors to the arguments of a `predict` that takes arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InvalidInput
from modelport.protocol.frame import as_text, pandas, to_frame
from modelport.protocol.tensor import is_missing
from modelport.server.form import Accepts, Taken
from modelport.server.signature import Signature


class Binding:
    """Finds for each parameter its input, cast to the hinted dtype.

    Called with arrays by name; the name `""` stands for a matrix of all columns of the signature.
    """

    def __init__(self, takes: Accepts, signature: Signature | None) -> None:
        self._takes = takes.inputs
        self._required = [taken.name for taken in takes.inputs if taken.required]
        self._columns = [spec.name for spec in signature.inputs] if signature else []
        self._is_table = signature is not None and signature.kind == "columns"

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """The arguments by name. Raises InvalidInput where inputs are missing, unknown or do not fit."""
        if len(self._takes) == 1:
            taken = self._takes[0]
            if taken.is_frame:
                return {taken.name: self._frame(arrays)}
            if len(arrays) == 1:
                ((name, array),) = arrays.items()
                return {taken.name: _cast(array, taken, name)}
            if self._is_table:
                return {taken.name: _cast(_matrix(arrays), taken, taken.name)}
        elif "" in arrays:
            arrays = dict(zip(self._columns, arrays[""].T, strict=True))
        self._check_names(arrays)
        return {
            taken.name: _cast(arrays[taken.name], taken, taken.name)
            for taken in self._takes
            if taken.name in arrays
        }

    def _frame(self, arrays: Mapping[str, Array]) -> Any:
        if "" in arrays:
            return pandas().DataFrame(arrays[""], columns=self._columns)
        return to_frame(arrays)

    def _check_names(self, arrays: Mapping[str, Array]) -> None:
        known = [taken.name for taken in self._takes]
        missing = [name for name in self._required if name not in arrays]
        unknown = [name for name in arrays if name not in known]
        if missing or unknown:
            raise InvalidInput(
                f"inputs: must be {_listed(known)}, got {_listed(arrays) or 'none'}."
                + (f" Missing: {_listed(missing)}." if missing else "")
                + (f" Unknown: {_listed(unknown)}." if unknown else "")
            )


def _listed(names: Any) -> str:
    return ", ".join(names)


def _matrix(columns: Mapping[str, Array]) -> Array:
    text = [name for name, column in columns.items() if column.dtype == object]
    if text:
        raise InvalidInput(f"inputs.{text[0]}: must be numeric; the model takes one matrix of numbers.")
    return np.column_stack(list(columns.values()))


def _cast(array: Array, taken: Taken, name: str) -> Array:
    if taken.dtype is None or array.dtype == taken.dtype:
        return array
    return cast_to(array, taken.dtype, f"inputs.{name or taken.name}")


def cast_to(array: Array, dtype: np.dtype[Any], where: str) -> Array:
    """The array in another dtype; `str` decodes text. Raises InvalidInput where values would be lost.

    Floats may lose precision: a client that writes JSON cannot choose the width of its numbers.
    """
    if array.dtype == object or dtype.kind in "SUO":
        return _cast_text(array, dtype, where)
    if dtype.kind == "f" or np.can_cast(array.dtype, dtype, "safe"):
        return array.astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        converted = array.astype(dtype)
    if not np.array_equal(converted, array):
        raise InvalidInput(f"{where}: has values that {dtype} cannot hold. Send {dtype} values.")
    return converted


def _cast_text(array: Array, dtype: np.dtype[Any], where: str) -> Array:
    if dtype.kind == "O":
        return array.astype(object)
    if array.dtype != object or dtype.kind not in "SU":
        got = "text" if array.dtype == object else f"{array.dtype} values"
        raise InvalidInput(f"{where}: must be {'text' if dtype.kind in 'SU' else dtype}, got {got}.")
    elements = array.ravel().tolist()
    if any(element is None or is_missing(element) for element in elements):
        raise InvalidInput(f"{where}: has nulls, which the model does not take.")
    if dtype.kind == "S":
        return cast("Array", np.array(elements, dtype).reshape(array.shape))
    texts = as_text(elements)
    if any(isinstance(text, bytes) for text in texts):
        raise InvalidInput(f"{where}: must be UTF-8 text.")
    return cast("Array", np.array(texts, dtype).reshape(array.shape))
