"""How a model is written, by its type: in its framework's own format, with no framework imported.

The model brought its framework with it. Only what writes a format that the framework does not write itself
(joblib, skops) is imported, and only when that format is wanted.
"""

from __future__ import annotations

import importlib
import mmap
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from modelport.protocol.frame import is_frame
from modelport.server.tensors import columns_of_maps


class Format(NamedTuple):
    """A file format for models."""

    runtime: str
    suffix: str
    write: Callable[[Any, Path], tuple[str, ...] | None]
    """Writes it, and says what reading it takes besides `libraries`."""
    predict: Callable[[Any, Any], Any]
    """What the written artifact answers, which for a booster is not what the estimator around it says."""
    libraries: tuple[str, ...]
    input_names: Callable[[Any], list[str]] | None = None
    """The names that the artifact gives its inputs; None for tables."""
    has_signature: bool = False
    """Whether the artifact itself holds datatypes and shapes."""


def format_of(model: Any, wanted: str | None = None) -> Format:
    """The format for a model. Raises TypeError, with what to do, for what cannot be saved."""
    for kind in type(model).__mro__:
        library = kind.__module__.partition(".")[0]
        chosen = _BY_TYPE.get(f"{library}.{kind.__name__}") or _BY_LIBRARY.get(library)
        if chosen is None:
            continue
        if wanted is None:
            return chosen
        if wanted == "skops" and chosen.runtime == "sklearn":
            return _SKOPS
        raise TypeError(
            f"format: must be left out for {_called(model)}, got {wanted!r}. "
            '"skops" is for scikit-learn\'s own models.'
        )
    hint = ""
    if any(kind.__module__.partition(".")[0] == "torch" for kind in type(model).__mro__):
        hint = " Export a module first: torch.export.export(module, (example,)), or torch.jit.script(module)."
    raise TypeError(
        f"model: {_called(model)} is of no library that can be saved here (scikit-learn, XGBoost, LightGBM, "
        f"CatBoost, torch, ONNX).{hint} Subclass modelport.Model to serve anything else."
    )


def _called(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _module(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"{purpose} needs {package}, which is not installed: pip install {package}"
        ) from error


# Tables


def _write_joblib(model: Any, path: Path) -> tuple[str, ...]:
    """By joblib, which writes functions and classes as names; those of a script or notebook, which nobody else can
    import, go into the file with their code."""
    try:
        _module("joblib", "Saving a scikit-learn model").dump(model, path)
        if not _names_main(path):
            return ()
    except (pickle.PicklingError, AttributeError):  # a lambda, or a function in a function
        pass
    with path.open("wb") as file:
        _module("cloudpickle", "Saving functions and classes of a script or notebook").dump(model, file)
    return ("cloudpickle",)


def _names_main(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"__main__") >= 0


def _write_skops(model: Any, path: Path) -> None:
    _module("skops.io", 'format="skops"').dump(model, path)


def _write_own(model: Any, path: Path) -> None:
    _booster(model).save_model(str(path))


def _booster(model: Any) -> Any:
    """The booster inside an XGBoost or LightGBM estimator, which is what a server loads."""
    if hasattr(model, "get_booster"):
        return model.get_booster()
    return getattr(model, "booster_", model)


def _predict(model: Any, example: Any) -> Any:
    booster = _booster(model)
    return booster.predict(example) if hasattr(booster, "predict") else model.transform(example)


def _predict_xgboost(model: Any, example: Any) -> Any:
    categorical = is_frame(example) and any(str(dtype) == "category" for dtype in example.dtypes)
    matrix = sys.modules["xgboost"].DMatrix(example, enable_categorical=categorical)
    return _booster(model).predict(matrix)


def catboost_kind(model: Any, proba: bool = False) -> str:
    """What a CatBoost model answers: its class's own prediction, but labels wherever there are classes."""
    if len(getattr(model, "classes_", ())) > 0:
        return "Probability" if proba else "Class"
    loss = catboost_loss(model)
    if loss in ("Poisson", "Tweedie"):
        return "Exponent"
    return loss if loss == "RMSEWithUncertainty" else "RawFormulaVal"


def catboost_loss(model: Any) -> str:
    """The loss that a CatBoost model was trained with, such as `Logloss`."""
    try:
        parameters: dict[str, Any] = model.get_all_params()
    except Exception:  # noqa: BLE001 (files of other tools may carry no parameters)
        return ""
    return str(parameters.get("loss_function", "")).split(":")[0]


def catboost_predicted(result: Any) -> Any:
    """CatBoost's answer, with labels flat: those of several classes come as a column."""
    array: Any = np.asarray(result)
    return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array


def _predict_catboost(model: Any, example: Any) -> Any:
    # The class's own: that of a ranker takes no prediction_type.
    predict: Any = sys.modules["catboost"].CatBoost.predict
    return catboost_predicted(predict(model, example, prediction_type=catboost_kind(model)))


def _write_estimator(model: Any, path: Path) -> None:
    model.save_model(str(path))


# Tensors


def _write_exported(program: Any, path: Path) -> None:
    sys.modules["torch"].export.save(program, path)


def _write_script(module: Any, path: Path) -> None:
    module.save(str(path))


def _exported_names(program: Any) -> list[str]:
    return [name for name in program.graph_signature.user_inputs if isinstance(name, str)]


def _script_names(module: Any) -> list[str]:
    return [argument.name for argument in module.forward.schema.arguments[1:]]


def _predict_exported(program: Any, example: Any) -> Any:
    return _called_with(program.module(), _exported_names(program), example)


def _predict_script(module: Any, example: Any) -> Any:
    return _called_with(module, _script_names(module), example)


def _called_with(module: Any, names: list[str], example: Mapping[str, Any]) -> Any:
    torch = sys.modules["torch"]
    with torch.no_grad():
        return _as_numpy(module(*(torch.as_tensor(example[name]) for name in names if name in example)))


def _as_numpy(result: Any) -> Any:
    if isinstance(result, Mapping):
        members = cast("Mapping[str, Any]", result)
        return {str(name): _as_numpy(value) for name, value in members.items()}
    if hasattr(result, "_asdict"):
        return _as_numpy(result._asdict())
    if isinstance(result, list | tuple):
        return tuple(_as_numpy(value) for value in cast("list[Any]", result))
    return result.detach().cpu().numpy()


def _write_onnx(model: Any, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _session(model: Any) -> Any:
    return _module("onnxruntime", "An example for an ONNX model").InferenceSession(model.SerializeToString())


def _onnx_names(model: Any) -> list[str]:
    return [given.name for given in _session(model).get_inputs()]


def _predict_onnx(model: Any, example: Mapping[str, Any]) -> Any:
    session = _session(model)
    kinds = {output.name: str(output.type) for output in session.get_outputs()}
    feed = {name: np.asarray(example[name]) for name in _onnx_names(model)}
    results = zip(kinds.items(), session.run(list(kinds), feed), strict=True)
    return {
        name: columns_of_maps(value, kind) if kind.startswith("seq(map(") else value
        for (name, kind), value in results
    }


_SKLEARN = Format("sklearn", ".joblib", _write_joblib, _predict, ("sklearn", "joblib", "scipy"))
_SKOPS = Format("sklearn", ".skops", _write_skops, _predict, ("sklearn", "skops", "scipy"))
_XGBOOST = Format("xgboost", ".ubj", _write_own, _predict_xgboost, ("xgboost",))
_LIGHTGBM = Format("lightgbm", ".txt", _write_own, _predict, ("lightgbm",))
_CATBOOST = Format("catboost", ".cbm", _write_estimator, _predict_catboost, ("catboost",))
_EXPORTED = Format("torch", ".pt2", _write_exported, _predict_exported, ("torch",), _exported_names, True)
_SCRIPT = Format("torch", ".pt", _write_script, _predict_script, ("torch",), _script_names)
_ONNX = Format("onnx", ".onnx", _write_onnx, _predict_onnx, ("onnx", "onnxruntime"), _onnx_names, True)

_BY_TYPE = {"torch.ExportedProgram": _EXPORTED, "torch.ScriptModule": _SCRIPT, "onnx.ModelProto": _ONNX}
_BY_LIBRARY = {"xgboost": _XGBOOST, "lightgbm": _LIGHTGBM, "catboost": _CATBOOST, "sklearn": _SKLEARN}
