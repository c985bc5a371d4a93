"""What was saved beside a model: `modelport.json`, as `modelport.save` writes it, or MLflow's `MLmodel`."""

from __future__ import annotations

import datetime
import importlib
import sys
from pathlib import Path, PurePosixPath
from typing import Any, cast

import msgspec
import numpy as np

from modelport.protocol.datatype import DATATYPES, Array, numpy_dtype
from modelport.protocol.tensor import to_text
from modelport.server.runtime import LoadError
from modelport.server.signature import Signature, TensorSpec

FILE = "modelport.json"


class Tensor(msgspec.Struct, frozen=True):
    """A tensor as V2 writes it in JSON; data are flat."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]

    def to_array(self) -> Array:
        """The data as an array; nulls are NaN, text is an object array of str and None."""
        array = np.empty(len(self.data), object)
        array[:] = self.data
        if self.datatype != "BYTES":
            dtype = numpy_dtype(self.datatype)
            if dtype.kind == "f":
                array = np.array([np.nan if value is None else value for value in self.data], dtype)
            else:
                array = array.astype(dtype)
        return array.reshape(self.shape)

    @classmethod
    def of_array(cls, name: str, array: Array, datatype: str) -> Tensor:
        """A tensor with the values of an array."""
        if datatype == "BYTES":
            data: list[Any] = [text.decode() if isinstance(text, bytes) else text for text in to_text(array)]
        else:
            data = array.ravel().tolist()
        return cls(name, datatype, list(array.shape), data)


class Example(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request that the model answers, and what it answered where it was saved."""

    inputs: list[Tensor]
    expected_outputs: list[Tensor] = []


class Saved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a saved model."""

    version: int = msgspec.field(default=1)
    artifact: str | None = None
    """The model's file, relative to the folder."""
    runtime: str | None = None
    """The runtime that loads it, such as `sklearn`."""
    signature: Signature | None = None
    example: Example | None = None
    libraries: dict[str, str] = {}
    """Versions of the libraries that saved it."""
    created: datetime.datetime | None = None
    notes: tuple[str, ...] = ()
    """What could not be read, and what would help."""


def read_saved(folder: Path) -> Saved | None:
    """What was saved in the folder, or None if nothing was. Raises LoadError naming file and field."""
    path = folder / FILE
    if path.is_file():
        return _checked(_decoded(path), path)
    path = folder / "MLmodel"
    return _checked(_mlflow(path), path) if path.is_file() else None


def check_code(saved: Saved, path: Path) -> None:
    """Raises LoadError where the model has code of its own in its file, which another Python wrote."""
    wrote = ".".join(saved.libraries.get("python", "").split(".")[:2])
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if "cloudpickle" in saved.libraries and wrote and wrote != running:
        raise LoadError(
            f"{path}: it holds code of Python {wrote}, which {running} cannot run. Serve it by Python {wrote}, or move "
            "your functions and classes to a module of its own, save the model again, and put the module beside it."
        )


def _decoded(path: Path) -> Saved:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".") or "file"
        raise LoadError(f"{path}: {field}: {what}. Save the model again, or mend the field.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: is not JSON ({error}). Save the model again.") from error


def _checked(saved: Saved, path: Path) -> Saved:
    for field, problem in _problems(saved):
        raise LoadError(f"{path}: {field}: {problem} Save the model again, or mend the field.")
    return saved


def _problems(saved: Saved) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    if saved.version != 1:
        problems.append(("version", f"must be 1, got {saved.version}; a newer modelport may read it."))
    if saved.artifact is not None:
        artifact = PurePosixPath(saved.artifact)
        if artifact.is_absolute() or ".." in artifact.parts or not saved.artifact:
            problems.append(("artifact", f"must be a path inside the folder, got {saved.artifact!r}."))
    if saved.signature is not None:
        for side in ("inputs", "outputs"):
            specs: tuple[TensorSpec, ...] = getattr(saved.signature, side)
            problems += _datatypes(f"signature.{side}", [spec.datatype for spec in specs])
    if saved.example is not None:
        for field in ("inputs", "expected_outputs"):
            tensors: list[Tensor] = getattr(saved.example, field)
            problems += _datatypes(f"example.{field}", [tensor.datatype for tensor in tensors])
            if not problems:
                problems += _values(f"example.{field}", tensors)
    return problems


def _datatypes(where: str, datatypes: list[str]) -> list[tuple[str, str]]:
    return [
        (f"{where}[{index}].datatype", f"must be one of {', '.join(DATATYPES)}, got {datatype!r}.")
        for index, datatype in enumerate(datatypes)
        if datatype not in DATATYPES
    ]


def _values(where: str, tensors: list[Tensor]) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    for index, tensor in enumerate(tensors):
        try:
            tensor.to_array()
        except (TypeError, ValueError, OverflowError) as error:
            problems.append((f"{where}[{index}].data", f"does not fit its datatype and shape ({error})."))
    return problems


NAMELESS = "input-0"
"""The one input of a model that knows no names, as `modelport.save` writes it."""


def example_bodies(saved: Saved) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The example as a V1 and as a V2 body, both ready for JSON; None without an example.

    V1 has a row of values for a single input, else a dict by name for each row; for inputs of different
    length, `inputs` holds each whole.
    """
    if saved.example is None:
        return None
    tensors = saved.example.inputs
    v2 = {"inputs": [msgspec.to_builtins(tensor) for tensor in tensors]}
    nested = {
        tensor.name: np.array([*tensor.data, None], object)[:-1].reshape(tensor.shape).tolist()
        for tensor in tensors
    }
    is_table = saved.signature is not None and saved.signature.kind == "columns"
    # Texts alone have no name of their own: clients send them as they are.
    named = is_table and not (
        len(tensors) == 1 and (len(tensors[0].shape) > 1 or tensors[0].name == NAMELESS)
    )
    if len(tensors) == 1 and not named:
        return {"instances": nested[tensors[0].name]}, v2
    if len({tensor.shape[0] if tensor.shape else None for tensor in tensors}) > 1:
        return {"inputs": nested}, v2
    rows = [dict(zip(nested, row, strict=True)) for row in zip(*nested.values(), strict=True)]
    return {"instances": rows}, v2


# MLflow

_MLFLOW = {
    "boolean": "BOOL", "bool": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64",
    "string": "BYTES", "str": "BYTES", "object": "BYTES", "binary": "BYTES", "bytes": "BYTES", "datetime": "BYTES",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
_ARTIFACT_KEYS = ("pickled_model", "data", "model_data", "model_path")


def _mlflow(path: Path) -> Saved:
    try:
        yaml = cast("Any", importlib.import_module("yaml"))
    except ImportError:
        note = f"{path.name}: not read, for PyYAML is not installed. To use its signature: pip install pyyaml"
        return Saved(notes=(note,))
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: is not YAML ({error}).") from error
    if not isinstance(document, dict):
        raise LoadError(f"{path}: must be a mapping, got {type(document).__name__}.")
    model = cast("dict[str, Any]", document)
    signature, notes = _mlflow_signature(model.get("signature"))
    flavours: dict[str, Any] = model.get("flavors") or {}
    runtime = next((name for name in flavours if name != "python_function"), None)
    known: dict[str, Any] = flavours.get(runtime) or {} if runtime else {}
    artifact = next((known[key] for key in _ARTIFACT_KEYS if isinstance(known.get(key), str)), None)
    example, problem = _mlflow_example(path.parent, model.get("saved_input_example_info"), signature)
    version = next((str(known[key]) for key in known if key.endswith(("_version", "version"))), None)
    return Saved(
        artifact=artifact,
        runtime=runtime,
        signature=signature,
        example=example,
        libraries={runtime: version} if runtime and version else {},
        notes=(*notes, *problem),
    )


def _mlflow_signature(given: Any) -> tuple[Signature | None, tuple[str, ...]]:
    if not isinstance(given, dict):
        return None, ()
    sides = cast("dict[str, Any]", given)
    notes: list[str] = []
    specs: dict[str, tuple[TensorSpec, ...]] = {}
    is_table = True
    for side in ("inputs", "outputs"):
        text = sides.get(side)
        fields: list[dict[str, Any]] = msgspec.json.decode(text) if isinstance(text, str) else text or []
        found: list[TensorSpec] = []
        for index, field in enumerate(fields):
            spec = _mlflow_spec(field, f"{side[:-1]}-{index}")
            if spec is None:
                notes.append(
                    f"MLmodel: signature.{side}[{index}]: type {field.get('type')!r} is not known here."
                )
                break
            found.append(spec)
        else:
            specs[side] = tuple(found)
        if side == "inputs":
            is_table = not any(field.get("type") == "tensor" for field in fields)
    kind = "columns" if is_table else "tensors"
    return Signature(specs.get("inputs", ()), specs.get("outputs", ()), kind), tuple(notes)


def _mlflow_spec(field: dict[str, Any], unnamed: str) -> TensorSpec | None:
    name, tensor = field.get("name", unnamed), field.get("tensor-spec")
    if isinstance(tensor, dict):
        known = cast("dict[str, Any]", tensor)
        datatype = _MLFLOW.get(str(known.get("dtype")))
        return TensorSpec(name, datatype, tuple(known.get("shape", (-1,)))) if datatype else None
    datatype = _MLFLOW.get(str(field.get("type")))
    return TensorSpec(name, datatype) if datatype else None


def _mlflow_example(
    folder: Path, info: Any, signature: Signature | None
) -> tuple[Example | None, tuple[str, ...]]:
    known = cast("dict[str, Any]", info) if isinstance(info, dict) else {}
    name: str = known.get("artifact_path", "input_example.json")
    path = folder / name
    if signature is None or not signature.inputs or not path.is_file():
        return None, ()
    try:
        columns = _columns(msgspec.json.decode(path.read_bytes()), signature)
        tensors = [
            Tensor.of_array(spec.name, _typed(columns[spec.name], spec.datatype), spec.datatype)
            for spec in signature.inputs
        ]
    except (KeyError, TypeError, ValueError, msgspec.DecodeError, OSError) as error:
        return None, (f"{path.name}: not understood ({type(error).__name__}: {error}); no warm-up from it.",)
    return Example(tensors), ()


def _columns(example: Any, signature: Signature) -> dict[str, Any]:
    if isinstance(example, dict):
        given = cast("dict[str, Any]", example)
        if set(given) >= {"columns", "data"}:  # pandas' orient="split"
            return dict(zip(given["columns"], zip(*given["data"], strict=True), strict=True))
        example = given.get("inputs", given.get("instances", given))
        if isinstance(example, dict):
            return cast("dict[str, Any]", example)
    rows = cast("list[Any]", example)
    if rows and isinstance(rows[0], dict):
        return {spec.name: [row[spec.name] for row in rows] for spec in signature.inputs}
    if len(signature.inputs) == 1:
        return {signature.inputs[0].name: rows}
    names = [spec.name for spec in signature.inputs]
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _typed(values: Any, datatype: str) -> Array:
    return np.array(values, object if datatype == "BYTES" else numpy_dtype(datatype))
