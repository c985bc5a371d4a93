"""A request's tensors against a signature of kind `tensors`: names, datatypes, shapes, missing values.

    check([Given("input-0", "FP32", array, None)], signature, lenient=False)   # {"x": array}, no copy

Everything is pure. What fits already costs one comparison of each; only what does not is looked at again, to
be converted or to be named in an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from modelport.protocol.datatype import Array, bf16_to_fp32, numpy_dtype
from modelport.protocol.errors import InvalidInput
from modelport.server.given import Given
from modelport.server.runtime import LoadError
from modelport.server.signature import Signature, TensorSpec

_WHOLE: Final[dict[str, tuple[int, int]]] = {
    "BOOL": (0, 1),
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
"""Smallest and largest value of the whole-number datatypes."""

_EXACT: Final[dict[str, int]] = {"BF16": 2**8, "FP16": 2**11, "FP32": 2**24, "FP64": 2**53}
"""Up to this number the floats hold every whole number."""


def _widenings() -> frozenset[tuple[str, str]]:
    """All pairs of datatypes (given, wanted) where no value is lost. INT64 to FP64 is not among them."""
    pairs = {("BF16", "FP32"), ("BF16", "FP64"), ("FP16", "FP32"), ("FP16", "FP64"), ("FP32", "FP64")}
    holds = {name: bounds for name, bounds in _WHOLE.items() if name != "BOOL"}
    holds |= {name: (-most, most) for name, most in _EXACT.items()}
    for given, (least, most) in _WHOLE.items():
        pairs |= {(given, wanted) for wanted, (low, high) in holds.items() if low <= least and most <= high}
    return frozenset(pair for pair in pairs if pair[0] != pair[1])


_WIDENINGS: Final = _widenings()


def check(
    inputs: list[Given], signature: Signature, lenient: bool, *, accepts_missing: bool = False
) -> dict[str, Array]:
    """The request's inputs, named and typed as in the signature.

    A single input for a model with one may have any name (KServe's clients call it `input-0`). Otherwise names
    must agree. Datatypes that lose nothing are converted. `lenient` is for V1, whose JSON knows no datatypes:
    numbers become what the model takes when they fit, and a plain list `[n]` fills a column `[n, 1]`. A
    signature without inputs takes everything as it came, except that BF16 becomes FP32, for NumPy cannot tell
    it from UINT16. An empty shape in the signature means that the artifact does not say.

    Raises InvalidInput with the path of the field, what the model takes, and what came.
    """
    expected = signature.inputs
    if len(inputs) == 1 and len(expected) == 1:
        return {expected[0].name: _fit(inputs[0], expected[0], 0, lenient, accepts_missing)}
    if expected:
        _check_names(inputs, expected, lenient)
    else:
        _check_unique(inputs)
    specs = {spec.name: spec for spec in expected}
    checked = {
        given.name: _fit(given, specs.get(given.name), position, lenient, accepts_missing)
        for position, given in enumerate(inputs)
    }
    return {spec.name: checked[spec.name] for spec in expected} if expected else checked


def settle(own: Signature, saved: Signature | None, path: Path) -> Signature:
    """The signature saved beside the artifact, made sure that it speaks of this artifact; else the artifact's own.

    The saved one may say more (a shape, the meaning of an axis), never something else. Raises LoadError.
    """
    if saved is None or not (saved.inputs or saved.outputs):
        return own
    if saved.kind != "tensors":
        raise LoadError(
            f'{path}: its saved signature has kind "{saved.kind}". This model takes kind "tensors".'
        )
    for field, theirs, ours in (
        ("inputs", saved.inputs, own.inputs),
        ("outputs", saved.outputs, own.outputs),
    ):
        if ours and theirs and {(s.name, s.datatype) for s in theirs} != {(s.name, s.datatype) for s in ours}:
            raise LoadError(
                f"{path}: its saved signature has other {field} ({summary(theirs)}) than the file "
                f"({summary(ours)}). Save the signature again, or remove it."
            )
    return Signature(inputs=saved.inputs or own.inputs, outputs=saved.outputs or own.outputs)


def summary(specs: tuple[TensorSpec, ...]) -> str:
    """Inputs or outputs for a description, such as `x FP32 [-1, 4], mask BOOL`."""
    return ", ".join(f"{s.name} {s.datatype}{f' {list(s.shape)}' if s.shape else ''}" for s in specs)


def _fit(given: Given, spec: TensorSpec | None, position: int, lenient: bool, accepts_missing: bool) -> Array:
    """One input as the model takes it."""
    if given.nulls and not accepts_missing:
        raise _null(given, position)
    if spec is None:
        return _bf16(given.array) if given.datatype == "BF16" else given.array
    array = given.array
    if not _matches(array.shape, spec.shape):
        array = _reshaped(given, spec, position, lenient)
    if given.datatype == spec.datatype:
        return array
    if (given.datatype, spec.datatype) in _WIDENINGS:
        return _converted(array, given.datatype, spec.datatype)
    if lenient and given.datatype != "BYTES" and spec.datatype != "BYTES":
        return _narrowed(array, given, spec, position)
    raise _wrong_datatype(given, spec, position, lenient)


def _matches(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if not wanted:
        return True
    if len(shape) != len(wanted):
        return False
    for length, axis in zip(shape, wanted, strict=True):  # noqa: SIM110 (`all` costs twice as much)
        if axis != -1 and axis != length:
            return False
    return True


def _reshaped(given: Given, spec: TensorSpec, position: int, lenient: bool) -> Array:
    """A V1 list as a column `[n, 1]`, the form in which skl2onnx declares columns; all else is refused."""
    shape = given.array.shape
    if lenient and len(spec.shape) > 1 and spec.shape[-1] == 1 and _matches(shape, spec.shape[:-1]):
        return given.array.reshape(*shape, 1)
    raise InvalidInput(
        f'inputs[{position}].shape: input "{spec.name}" takes {list(spec.shape)}, got {list(shape)}.'
    )


def _converted(array: Array, given: str, wanted: str) -> Array:
    """The same values in another datatype; floats are rounded to the nearest."""
    if given == "BF16":
        array = _bf16(array)
    if wanted == "BF16":
        return _to_bf16(array.astype(np.float32))
    return array.astype(numpy_dtype(wanted))


def _narrowed(array: Array, given: Given, spec: TensorSpec, position: int) -> Array:
    """Numbers of JSON in the model's datatype; one that does not fit is named."""
    source = cast("NDArray[Any]", _bf16(array) if given.datatype == "BF16" else array)
    with np.errstate(over="ignore", invalid="ignore"):
        bad: NDArray[np.bool_]
        if bounds := _WHOLE.get(spec.datatype):
            # The upper bound plus one is a power of two, thus exact as a float; NaN fails both comparisons.
            bad = ~((source >= bounds[0]) & (source < bounds[1] + 1))
            if source.dtype.kind == "f":
                bad |= source != np.floor(source)
            target = source
        else:
            target = _converted(source, "", spec.datatype)
            seen = _bf16(target) if spec.datatype == "BF16" else target
            bad = np.isinf(cast("NDArray[Any]", seen)) & ~np.isinf(source)
    if bad.any():
        raise _unfit(source, int(bad.argmax()), spec, position)
    return target.astype(numpy_dtype(spec.datatype), copy=False)


def _bf16(bits: Array) -> NDArray[np.float32]:
    return bf16_to_fp32(cast("NDArray[np.uint16]", bits))


def _to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Float32 to the bits of BF16, rounded to nearest, ties to even."""
    bits = values.view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _check_unique(inputs: list[Given]) -> None:
    names = [given.name for given in inputs]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInput(f"inputs: {_quoted(twice)} given more than once. Send each input once.")


def _check_names(inputs: list[Given], expected: tuple[TensorSpec, ...], lenient: bool) -> None:
    _check_unique(inputs)
    given = {one.name for one in inputs}
    wanted = [spec.name for spec in expected]
    missing = [name for name in wanted if name not in given]
    unknown = [one.name for one in inputs if one.name not in wanted]
    if not missing and not unknown:
        return
    if len(wanted) == 1 and lenient and unknown == [str(position) for position in range(len(inputs))]:
        raise _of_two_kinds(inputs, expected[0])
    takes = f"The model takes {_quoted(wanted)}."
    if lenient and len(inputs) == 1 and len(unknown) == 1:
        keys = ", ".join(f'"{name}": …' for name in wanted)
        raise InvalidInput(
            f"inputs: the model takes {len(wanted)}, got one. In V1, send each instance as {{{keys}}}."
        )
    problems = [f"missing {_quoted(missing)}"] if missing else []
    problems += [f"unknown {_quoted(unknown)}"] if unknown else []
    raise InvalidInput(f"inputs: {', '.join(problems)}. {takes}")


def _of_two_kinds(inputs: list[Given], spec: TensorSpec) -> InvalidInput:
    """V1's rows of text and numbers come as a column each; here they should have been one array."""
    wants_text = spec.datatype == "BYTES"
    for column, given in enumerate(inputs):
        if (given.datatype == "BYTES") != wants_text:
            values: list[object] = given.array.ravel().tolist()
            row = next((row for row, value in enumerate(values) if value is not None), 0)
            wanted = "text" if wants_text else f"numbers ({spec.datatype})"
            return InvalidInput(
                f"inputs[0].data: element [{row}, {column}] is {_shown(values[row])}, "
                f'but input "{spec.name}" takes {wanted}.'
            )
    return InvalidInput(f'inputs: the model takes one, "{spec.name}", got {len(inputs)}.')


def _null(given: Given, position: int) -> InvalidInput:
    assert given.nulls  # noqa: S101
    return InvalidInput(
        f'{_element(given.array, given.nulls[0], position)} of input "{given.name}" is null. '
        "Send a value: the model takes no missing ones."
    )


def _wrong_datatype(given: Given, spec: TensorSpec, position: int, lenient: bool) -> InvalidInput:
    if not lenient:
        return InvalidInput(
            f'inputs[{position}].datatype: input "{spec.name}" takes {spec.datatype}, got {given.datatype}.'
        )
    wanted = "text" if spec.datatype == "BYTES" else f"numbers ({spec.datatype})"
    got = "text" if given.datatype == "BYTES" else "numbers"
    example = f", such as {_shown(given.array.flat[0])}" if given.array.size else ""
    return InvalidInput(f'inputs[{position}]: input "{spec.name}" takes {wanted}, got {got}{example}.')


def _unfit(source: Array, flat: int, spec: TensorSpec, position: int) -> InvalidInput:
    where = _element(source, flat, position)
    got = _shown(cast("NDArray[Any]", source).flat[flat])
    return InvalidInput(
        f'{where} of input "{spec.name}" is {got}, which {spec.datatype}, the datatype that the model takes, '
        "cannot hold."
    )


def _element(array: Array, flat: int, position: int) -> str:
    index = ", ".join(str(int(axis)) for axis in np.unravel_index(flat, array.shape))
    return f"inputs[{position}].data: element [{index}]"


def _shown(value: object) -> str:
    """A value as JSON writes it, cut to a length that fits a message."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def columns_of_maps(rows: list[dict[Any, float]], kind: str) -> Array:
    """An ONNX output of maps as `[rows, keys]`, keys ascending: for a classifier, the order of `classes_`."""
    keys = sorted(rows[0]) if rows else []
    value = "FP64" if "tensor(double)" in kind else "INT64" if "tensor(int64)" in kind else "FP32"
    dtype = {"FP64": np.float64, "INT64": np.int64, "FP32": np.float32}[value]
    return np.array([[row[key] for key in keys] for row in rows], dtype).reshape(len(rows), len(keys))
