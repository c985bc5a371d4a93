"""`modelport.save`: a model in its framework's own format, beside what a server needs to know of it."""

from __future__ import annotations

import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np

from modelport.protocol.datatype import Array, datatype_of
from modelport.protocol.frame import Frame, is_frame, is_series, pandas
from modelport.protocol.tensor import is_missing, to_named
from modelport.server.format import Format, format_of
from modelport.server.saved import FILE, NAMELESS, Example, Saved, Tensor
from modelport.server.signature import Signature, TensorSpec


def save(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    example: Any = None,
    overwrite: bool = False,
    format: Literal["skops"] | None = None,  # noqa: A002 - the word for it
) -> Path:
    """Saves a model into a folder that `modelport serve FOLDER` serves.

        modelport.save(pipeline, "models/churn", example=X.head())

    scikit-learn is written by joblib (`format="skops"`: without pickle, so that loading runs no code), XGBoost
    as UBJSON, LightGBM as text, CatBoost as CBM, torch programs as .pt2, TorchScript as .pt, ONNX as .onnx.
    Functions and classes that you defined in a script or notebook are written by joblib with their code, which
    the same Python (3.11, 3.12, …) has to read; what you import from a module of your own is not: put the module
    beside the model.

    `example` is a few rows as the model takes them: a DataFrame, an array, or a dict of arrays. From it come the
    names, datatypes and categories of the columns, the examples in the server's documentation, and the warm-up
    that proves, before a replica is ready, that the server predicts what you predict here. An XGBoost or
    LightGBM model is served as its booster, so a classifier answers with probabilities.

    Returns the folder. Raises FileExistsError for a folder that exists (with `overwrite`: unless a model was
    saved there), TypeError for models of other libraries.
    """
    target = Path(folder)
    _check_free(target, overwrite)
    chosen = format_of(model, format)
    signature, saved_example = (None, None) if example is None else _described(model, chosen, example)
    artifact = f"model{chosen.suffix}"
    # Written beside and moved, so that what is in the folder is whole whenever we are interrupted.
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as place:
        new = Path(place) / "new"
        new.mkdir()
        besides = chosen.write(model, new / artifact) or ()
        saved = Saved(
            artifact=artifact,
            runtime=chosen.runtime,
            signature=signature,
            example=saved_example,
            libraries=_versions((*chosen.libraries, *besides), example),
            created=datetime.datetime.now(datetime.UTC),
        )
        document = {"version": saved.version, **msgspec.to_builtins(saved)}
        (new / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        if target.exists():
            target.rename(Path(place) / "old")
        new.rename(target)
    return target


def _check_free(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(
            f"{target}: exists. Pass overwrite=True to replace it, or choose another folder."
        )
    if not (target / FILE).is_file():
        raise FileExistsError(
            f"{target}: holds no saved model, so it is not replaced. Choose another folder."
        )


def _described(model: Any, chosen: Format, example: Any) -> tuple[Signature | None, Example]:
    """What a server should know of a model, from an example that it predicts here."""
    if chosen.input_names is None:
        example = pandas().DataFrame(example) if isinstance(example, Mapping) else example
        example = _of_series(example, model) if is_series(example) else example
        specs, arrays = _columns(example) if is_frame(example) else _table(example)
    else:
        example = _tensors(example, chosen.input_names(model))
        arrays = list(example.values())
        specs = [_spec(name, array) for name, array in example.items()]
    outputs = {
        name: _dense(value) for name, value in to_named(_densed(chosen.predict(model, example))).items()
    }
    if is_frame(example) and (few := [array for array in outputs.values() if len(array) != len(example)]):
        raise ValueError(
            f"example: the model answers {len(few[0])} rows for {len(example)}. A model of texts takes a list of "
            'them, or a column: X["text"].head().'
        )
    signature = Signature(
        inputs=tuple(specs),
        outputs=tuple(_spec(name, array) for name, array in outputs.items()),
        kind="columns" if chosen.input_names is None else "tensors",
    )
    return None if chosen.has_signature else signature, Example(
        [Tensor.of_array(spec.name, array, spec.datatype) for spec, array in zip(specs, arrays, strict=True)],
        [Tensor.of_array(name, array, datatype_of(array.dtype)) for name, array in outputs.items()],
    )


def _densed(result: Any) -> Any:
    return result.toarray() if hasattr(result, "toarray") else result


def _dense(array: Array) -> Array:
    return np.ascontiguousarray(array)


def _spec(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name, datatype_of(array.dtype), (-1, *array.shape[1:]))


def _tensors(example: Any, names: list[str]) -> dict[str, Array]:
    given: Mapping[str, Any] = (
        cast("Mapping[str, Any]", example) if isinstance(example, Mapping) else {names[0]: example}
    )
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"example: the model takes {', '.join(names)}, got {', '.join(unknown)}.")
    return {name: _rows(given[name], name) for name in names if name in given}


def _rows(value: Any, name: str) -> Array:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array: Array = np.asarray(value)
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(f"example: {name} must have at least one row, got shape {list(array.shape)}.")
    return array


def _of_series(series: Any, model: Any) -> Any:
    """A column of texts as a model of texts takes it; for all others a table of one column."""
    is_text = not hasattr(model, "feature_names_in_") and all(isinstance(value, str) for value in series)
    return series.to_numpy(object) if is_text else series.to_frame()


def _table(example: Any) -> tuple[list[TensorSpec], list[Array]]:
    """A table without column names is one input. Whether its numbers are whole is chance, so they are FP64.

    Text beside numbers is a tensor a column, named after its place: one tensor would make text of all.
    """
    array = _rows(example, "the array")
    if array.dtype.kind in "biuf":
        array = array.astype(np.float64)
    if array.dtype == object and array.ndim == 2:
        columns = [_values(array[:, position]) for position in range(array.shape[1])]
        if any(column.dtype != object for column in columns):
            return [_spec(str(position), column) for position, column in enumerate(columns)], columns
    return [_spec(NAMELESS, array)], [array]


def _columns(example: Frame) -> tuple[list[TensorSpec], list[Array]]:
    if len(example) == 0:
        raise ValueError("example: must have at least one row. Pass X.head().")
    specs: list[TensorSpec] = []
    arrays: list[Array] = []
    for name, column in example.items():
        array = _values(column.to_numpy())
        arrays.append(array)
        specs.append(TensorSpec(str(name), datatype_of(array.dtype), (-1,), _categories(column)))
    return specs, arrays


def _categories(column: Any) -> tuple[Any, ...] | None:
    if str(column.dtype) != "category":
        return None
    values: list[Any] = column.cat.categories.tolist()
    return tuple(values)


def _values(array: Array) -> Array:
    """A column of objects in the datatype of its values."""
    if array.dtype != object:
        return array
    # Numbers with gaps (Int64 and the like) and categories of numbers are objects to NumPy.
    elements: list[Any] = array.tolist()
    present = [value for value in elements if value is not None and not is_missing(value)]
    kinds = set(map(type, present))
    if kinds == {bool} and len(present) == len(elements):
        return array.astype(np.bool_)
    if kinds and kinds <= {int, float}:
        if kinds == {int} and len(present) == len(elements):
            return array.astype(np.int64)
        floats = [np.nan if value is None or is_missing(value) else value for value in elements]
        return np.array(floats, np.float64)
    return array


_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def _versions(libraries: tuple[str, ...], example: Any) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in (*libraries, "numpy", *(("pandas",) if is_frame(example) else ())):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            versions[_DISTRIBUTIONS.get(name, name)] = str(version)  # torch's is a class of its own
    return versions
