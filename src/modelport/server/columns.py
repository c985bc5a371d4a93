"""From what a client sent to the table that a model takes: one matrix, or one array a column.

A table arrives in five forms: a matrix; a matrix of text; one tensor a column, by name and in any order;
one tensor a column, named by position (rows of mixed types in V1); one tensor for a model of one column.
All of them end as `LoadedModel.predict` is promised them, or as an `InvalidInput` that names tensor, row
and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from modelport.protocol.datatype import Array, numpy_dtype
from modelport.protocol.errors import InvalidInput
from modelport.server import cells
from modelport.server.cells import AS_TRAINED, quoted, shown
from modelport.server.given import Given
from modelport.server.signature import Signature, TensorSpec


def arrange(inputs: Sequence[Given], signature: Signature, accepts_missing: bool) -> dict[str, Array]:
    """The inputs of `LoadedModel.predict` for a model that takes columns, or that does not say what it takes.

    Nulls become NaN in numbers and None in text. Raises InvalidInput where the table does not fit.
    """
    table = _TABLES.get(id(signature))
    if table is None or table.signature is not signature:
        table = _remember(signature)
    if len(inputs) == 1:  # the hot path: nothing is copied and no value is looked at
        given = inputs[0]
        shape = given.array.shape
        if (
            table.plain
            and len(shape) == 2
            and shape[1] == table.width
            and not given.nulls
            and given.datatype in _PLAIN
        ):
            return {"": given.array}
    if not table.width:
        return _unsigned(inputs, accepts_missing)
    columns = table.columns(inputs, accepts_missing)
    if isinstance(columns, dict):
        return columns
    return {"": columns}


def plain(signature: Signature) -> tuple[dict[str, np.dtype[np.generic]], int]:
    """The datatypes of a matrix that `arrange` passes on as it is, and the width that it must have; none where the
    table has text or categories."""
    table = _Table(signature)
    return ({name: numpy_dtype(name) for name in _PLAIN} if table.plain else {}), table.width


def first_unusable(inputs: Mapping[str, Array], signature: Signature) -> str | None:
    """Where the first missing or infinite number is, such as `row 3, column "age": NaN`, if there is one.

    For runtimes, to tell the client's fault from the model's once a prediction has failed.
    """
    for name, array in inputs.items():
        if array.dtype.kind == "f":
            bad = ~(np.abs(array) <= np.finfo(np.float32).max)  # many frameworks compute in FP32
        elif array.dtype.kind == "O":
            bad = np.array([value is None or value != value for value in array.ravel()]).reshape(array.shape)
        else:
            continue
        if bad.any():
            where = np.unravel_index(int(bad.argmax()), bad.shape)
            value = array[where]
            column = name
            if array.ndim > 1:
                specs = signature.inputs
                column = specs[where[1]].name if len(specs) == array.shape[1] else str(where[1])
            seen = "null" if value is None else "NaN" if value != value else str(value)
            return f"row {where[0]}, column {quoted(column)}: {seen}"
    return None


_PLAIN: Final = frozenset(
    ("FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL", "FP16")
)
_INTEGERS: Final = frozenset(name for name in _PLAIN if "INT" in name or name == "BOOL")
_UNNAMED: Final = "input-0"
"""What the data plane calls V1's instances that are plain lists."""
_SHOWN: Final = 5
"""How many names or categories an error lists."""


class _Table:
    """A signature made ready for looking columns up."""

    __slots__ = ("known", "mixed", "named", "names", "plain", "positions", "signature", "specs", "width")

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        specs = signature.inputs
        self.named = not (len(specs) == 1 and len(specs[0].shape) > 1)
        if not self.named:
            block = specs[0]
            specs = tuple(TensorSpec(str(index), block.datatype) for index in range(block.shape[1]))
        self.specs: tuple[TensorSpec, ...] = specs
        self.width = len(specs)
        self.names = [spec.name for spec in specs]
        self.positions = {name: position for position, name in enumerate(self.names)}
        self.known = [None if spec.categories is None else frozenset(spec.categories) for spec in specs]
        self.mixed = any(spec.text_or_integers for spec in specs)
        numbers = (
            spec.optional or (spec.datatype not in ("BYTES", "") and spec.categories is None)
            for spec in specs
        )
        self.plain = self.width > 0 and not self.mixed and all(numbers)

    def columns(self, inputs: Sequence[Given], accepts_missing: bool) -> dict[str, Array] | Array:
        """One array a column, or a matrix."""
        if len(inputs) == 1:
            index, given = 0, inputs[0]
            shape = given.array.shape
            if len(shape) == 2 and shape[1] == self.width:
                if given.datatype != "BYTES":
                    return self.matrix(given, accepts_missing)
                return self.text_matrix(given, accepts_missing)
            if self.width == 1 and len(shape) == 1:
                return self.stacked({self.names[0]: self.column(0, index, given, accepts_missing)})
            if not (self.named and self.is_column(given) and self.is_named(given)):
                raise self.misshapen(given)
        for index, given in enumerate(inputs):
            if not self.is_column(given):
                raise InvalidInput(
                    f"inputs[{index}].shape: a column has shape [rows] or [rows, 1], got "
                    f"{list(given.array.shape)} for {quoted(given.name)}."
                )
            if len(given.array) != len(inputs[0].array):
                raise InvalidInput(
                    f"inputs[{index}].shape: all columns must have the same number of rows, got "
                    f"{len(given.array)} for {quoted(given.name)} and {len(inputs[0].array)} for "
                    f"{quoted(inputs[0].name)}."
                )
        order = self.order(inputs)
        return self.stacked(
            {
                self.names[position]: self.column(position, index, inputs[index], accepts_missing)
                for position, index in enumerate(order)
                if index is not None
            }
        )

    def order(self, inputs: Sequence[Given]) -> list[int | None]:
        """For each of the model's columns, which of the inputs it is."""
        indices = {given.name: index for index, given in enumerate(inputs)}
        for name in [name for name in indices if name not in self.positions]:
            spelt = name.replace(" ", "_")  # LightGBM stores "sepal length" so
            if spelt in self.positions and spelt not in indices:
                indices[spelt] = indices.pop(name)
        unknown = [name for name in indices if name not in self.positions]
        by_position = unknown and all(str(position) in indices for position in range(len(inputs)))
        if by_position or not self.named:  # a model that knows no names takes columns as they come
            if len(inputs) != self.width:
                raise InvalidInput(f"inputs: the model takes {_count(self.width)}, got {len(inputs)}.")
            if unknown and not by_position:
                return list(range(self.width))
            return [indices[str(position)] for position in range(self.width)]
        missing = [spec.name for spec in self.specs if not spec.optional and spec.name not in indices]
        if missing or unknown:
            raise self.misnamed(missing, unknown)
        return [indices.get(name) for name in self.names]

    def stacked(self, columns: dict[str, Array]) -> dict[str, Array] | Array:
        """A model that knows no names is promised a matrix."""
        return columns if self.named else np.column_stack(list(columns.values()))

    def matrix(self, given: Given, accepts_missing: bool) -> dict[str, Array] | Array:
        for position, spec in enumerate(self.specs):
            if spec.datatype == "BYTES" and not (spec.optional or spec.text_or_integers):
                raise _mismatch(0, spec, given.datatype, cells.numbers(given)[:, position])
        array = cells.numbers(given)
        if given.nulls:
            if not accepts_missing:
                row, position = divmod(min(given.nulls), self.width)
                raise _null(row, self.names[position])
            array = cells.with_nan(array, given.nulls)
        for position in range(self.width):
            self.check_known(position, array[:, position])
        if not self.mixed:
            return array
        return {
            spec.name: cells.whole(array[:, position], spec.name)
            if spec.text_or_integers
            else array[:, position]
            for position, spec in enumerate(self.specs)
        }

    def text_matrix(self, given: Given, accepts_missing: bool) -> dict[str, Array]:
        """Columns of a BYTES matrix. It has one datatype only, so here numbers may come as text."""
        if self.plain:
            position, spec = next(
                (position, spec) for position, spec in enumerate(self.specs) if not spec.optional
            )
            raise _mismatch(0, spec, "BYTES", given.array[:, position])
        rows = len(given.array)
        nulls = set(given.nulls or ())
        columns: dict[str, Array] = {}
        for position, spec in enumerate(self.specs):
            empty = [row for row in range(rows) if row * self.width + position in nulls] if nulls else None
            part = Given(spec.name, "BYTES", given.array[:, position], empty)
            if spec.datatype in ("BYTES", "") or spec.optional or spec.text_or_integers:
                columns[spec.name] = self.column(position, 0, part, accepts_missing)
                continue
            numbers = np.empty(rows, np.float64)
            for row, text in enumerate(cells.text(part)):
                if text is None or (empty and row in empty):
                    if not accepts_missing:
                        raise _null(row, spec.name)
                    numbers[row] = np.nan
                else:
                    numbers[row] = cells.number(text, row, spec)
            self.check_known(position, numbers)
            columns[spec.name] = numbers
        return columns

    def column(self, position: int, index: int, given: Given, accepts_missing: bool) -> Array:
        """One column, `[rows]`."""
        spec = self.specs[position]
        if given.array.ndim != 1:
            given = given._replace(array=given.array.reshape(-1))
        nulls = set(given.nulls or ())
        free = spec.optional or not spec.datatype
        if given.datatype == "BYTES":
            nulls.update(row for row, value in enumerate(given.array.tolist()) if value is None)
        if nulls and spec.text_or_integers:
            raise cells.no_category(min(nulls), spec.name)
        if nulls and not accepts_missing and not spec.optional:
            raise _null(min(nulls), spec.name)
        empty = len(nulls) == len(given.array)  # only nulls: their datatype says nothing
        array: Array
        if spec.text_or_integers and given.datatype != "BYTES":
            if given.datatype not in _INTEGERS:
                raise _mismatch(index, spec, given.datatype, cells.numbers(given))
            array = cells.whole(given.array, spec.name)
        elif given.datatype == "BYTES":
            if spec.datatype != "BYTES" and not (free or spec.text_or_integers):
                if not empty:
                    raise _mismatch(index, spec, "BYTES", given.array)
                return np.full(len(given.array), np.nan)
            values: list[str | None] = cells.text(given)
            for row in nulls:
                values[row] = None
            array = np.array(values, object)
        elif spec.datatype == "BYTES" and not free:
            if not empty or not nulls:
                raise _mismatch(index, spec, given.datatype, cells.numbers(given))
            array = np.full(len(given.array), None, object)
        else:
            array = cells.numbers(given)
            if nulls:
                array = cells.with_nan(array, sorted(nulls))
        self.check_known(position, array)
        return array

    def check_known(self, position: int, array: Array) -> None:
        """Refuses values that are not among the column's categories, where those are listed."""
        known = self.known[position]
        if known is None:
            return
        values: list[object] = array.tolist()
        unknown = {value for value in values if value is not None and value == value} - known
        if not unknown:
            return
        row, value = next((row, value) for row, value in enumerate(values) if value in unknown)
        spec = self.specs[position]
        raise InvalidInput(
            f"row {row}, column {quoted(spec.name)}: {shown(value)} is not a category that the model knows. "
            f"It knows {_listed(map(shown, spec.categories or ()), len(spec.categories or ()))}."
        )

    def is_column(self, given: Given) -> bool:
        shape = given.array.shape
        return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)

    def is_named(self, given: Given) -> bool:
        """Whether it is called a column: one by its own name is told by that name if the model has none such."""
        shape = given.array.shape
        return given.name in self.positions or (
            len(shape) == 1 and shape != (self.width,) and given.name != _UNNAMED
        )

    def misshapen(self, given: Given) -> InvalidInput:
        shape = list(given.array.shape)
        if len(shape) == 2:
            return InvalidInput(
                f"inputs[0].shape: the model takes {_count(self.width)}, got {shape[1]} (shape {shape})."
            )
        hint = ""
        if shape == [self.width]:
            hint = f" One row has shape [1, {self.width}]: put it in brackets."
        return InvalidInput(
            f"inputs[0].shape: the model takes a table of {_count(self.width)} (shape [rows, {self.width}]), "
            f"got shape {shape}.{hint}"
        )

    def misnamed(self, missing: list[str], unknown: list[str]) -> InvalidInput:
        from difflib import get_close_matches  # only errors need it

        said: list[str] = []
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            said.append(f"{_listed(map(quoted, missing), len(missing))} {verb} missing")
        for name in unknown[:_SHOWN]:
            close = get_close_matches(name, missing or self.names, n=1, cutoff=0.6)
            hint = f" (did you mean {quoted(close[0])}?)" if close else ""
            said.append(f"{quoted(name)} is not a column of the model{hint}")
        return InvalidInput(
            f"inputs: {', and '.join(said)}. The model's columns are "
            f"{_listed(map(quoted, self.names), self.width, 12)}."
        )


_TABLES: Final[dict[int, _Table]] = {}
"""Tables by the id of their signature, which they hold, so that the id stays its own."""


def _remember(signature: Signature) -> _Table:
    if len(_TABLES) >= 256:  # models come and go; theirs must not stay for ever
        _TABLES.clear()
    table = _TABLES[id(signature)] = _Table(signature)
    return table


def _unsigned(inputs: Sequence[Given], accepts_missing: bool) -> dict[str, Array]:
    """What was sent, for a model that does not say what it takes."""
    arrays: dict[str, Array] = {}
    for given in inputs:
        if given.nulls and not accepts_missing:
            raise _null(min(given.nulls) // max(1, int(np.prod(given.array.shape[1:]))), given.name)
        if given.datatype == "BYTES":
            flat = given._replace(array=given.array.reshape(-1))
            values = cells.text(flat)
            for index in given.nulls or ():
                values[index] = None
            array: Array = np.array(values, object).reshape(given.array.shape)
        else:
            array = cells.numbers(given)
            if given.nulls:
                array = cells.with_nan(array, given.nulls)
        arrays[given.name] = array
    if len(inputs) == 1 and inputs[0].array.ndim == 2 and inputs[0].datatype != "BYTES":
        return {"": arrays[inputs[0].name]}
    return arrays


def _mismatch(index: int, spec: TensorSpec, datatype: str, column: Array) -> InvalidInput:
    where = f"inputs[{index}].datatype: column {quoted(spec.name)} takes"
    values: list[object] = column.tolist()
    value = next((value for value in values if value is not None), None)
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    got = datatype if value is None else f"{datatype}, such as {shown(value)}"
    if spec.text_or_integers:
        return InvalidInput(f"{where} text or integers, got {got}. {AS_TRAINED}")
    wanted = "text" if spec.datatype == "BYTES" else "numbers"
    return InvalidInput(f"{where} {wanted} ({spec.datatype}), got {got}.")


def _null(row: int, name: str) -> InvalidInput:
    return InvalidInput(
        f"row {row}, column {quoted(name)}: null, but the model takes no missing values. "
        "Send a value, or train the model with an imputer before it."
    )


def _count(width: int) -> str:
    return "1 column" if width == 1 else f"{width} columns"


def _listed(values: Iterable[str], total: int, most: int = _SHOWN) -> str:
    shown = [value for value, _ in zip(values, range(most), strict=False)]
    return ", ".join(shown) + (f" and {total - most} more" if total > most else "")
