"""Which runtime, and which file: from what the user named to what is loaded.

    locate(Path("/mnt/models"))        # (SklearnRuntime, Path("/mnt/models/model.joblib"))
    repository(Path("/srv/models"))    # {"iris": {"1": Path(…), "2": Path(…)}, "mnist": {None: Path(…)}}

Nothing heavy is imported while looking: runtimes are known by a table here, and a file whose ending several
share is judged by its first bytes. Other packages add runtimes by the entry point group `modelport.runtimes`;
where one of them knows a file, it goes before ours, for somebody chose to install it.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modelport.runtimes.agreement import MLFLOW, agreeing, check_name, disagreement
from modelport.server.runtime import LoadError, Runtime

_log: Final = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A runtime of ours, with what is needed to decide whether to import it."""

    name: str
    module: str
    attribute: str
    suffixes: tuple[str, ...]

    def load(self) -> type[Runtime]:
        """The class; its framework is not imported yet."""
        return getattr(importlib.import_module(self.module), self.attribute)


class UnreadableError(LoadError):
    """Whoever serves has no permission: a runtime would call the file damaged."""

    def __init__(self, path: object) -> None:
        super().__init__(f"{path}: may not be read by this user. chmod or chown it.")


RUNTIMES: Final = (
    Entry(
        "sklearn", "modelport.runtimes.sklearn", "SklearnRuntime", (".joblib", ".pkl", ".pickle", ".skops")
    ),
    Entry(
        "xgboost",
        "modelport.runtimes.xgboost",
        "XgboostRuntime",
        (".ubj", ".bst", ".json", ".model", ".deprecated"),
    ),
    Entry("lightgbm", "modelport.runtimes.lightgbm", "LightgbmRuntime", (".txt", ".bst", ".lgb", ".model")),
    Entry("catboost", "modelport.runtimes.catboost", "CatboostRuntime", (".cbm",)),
    Entry("onnx", "modelport.runtimes.onnx", "OnnxRuntime", (".onnx",)),
    Entry("pytorch", "modelport.runtimes.torch", "TorchRuntime", (".pt2", ".pt", ".pth")),
)
"""Ours. A test holds the endings to those of the classes."""

GROUP: Final = "modelport.runtimes"
"""The entry point group in which other packages name their runtimes."""

_FLAVORS: Final = {
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "catboost": "data",
    "onnx": "data",
    "pytorch": "model_data",
}
"""MLflow's flavors that we can serve, each with its key for the artifact."""


def locate(path: Path, wanted: str | None = None) -> tuple[type[Runtime], Path]:
    """The runtime and the file for a model file, a folder with one, or a folder that MLflow saved.

    `wanted` is the format that the user named: where files of several are there it chooses, and another is refused.
    Raises LoadError: nothing there, nothing known, more than one, another format, no permission.
    """
    try:
        runtime, artifact = _located(path, wanted)
    except PermissionError as error:
        raise UnreadableError(error.filename or path) from error
    if not os.access(artifact, os.R_OK):
        raise UnreadableError(artifact)
    if _is_empty(artifact):
        raise LoadError(f"{artifact}: {EMPTY}")
    return runtime, artifact


EMPTY: Final = "the file is empty. Save or download it again."


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _located(path: Path, wanted: str | None) -> tuple[type[Runtime], Path]:
    if wanted is not None:
        check_name(wanted, [entry.name for entry in RUNTIMES] + _names_of_others())
    if path.is_dir():
        if (path / "MLmodel").is_file():
            return _mlflow(path, wanted)
        return _in_folder(path, wanted)
    if not path.exists():
        raise LoadError(f"{path}: no such file or folder.")
    found = _runtimes_of(path)
    if not found:
        raise LoadError(f"{path}: {_unknown(path)}")
    if wanted is not None:
        found = agreeing({path: found}, wanted, path)[path]
    return _only(found, path), path


def repository(path: Path) -> dict[str, dict[str | None, Path]] | None:
    """The models of a repository folder, by name and version, or None if it is none.

    Each subfolder is a model, either itself or in versions, subfolders whose names are numbers (Triton,
    TensorFlow Serving): `mnist/1/model.onnx`, `iris/model.joblib`. A folder that has nothing but versions is a
    repository of one model, named after the folder.
    """
    if not path.is_dir() or _is_model(path):
        return None
    folders = _subfolders(path)
    numbered = {folder.name: folder for folder in folders if folder.name.isdecimal() and _is_model(folder)}
    if numbered and len(numbered) == len(folders):
        return {path.resolve().name: {**_by_number(numbered)}}
    models: dict[str, dict[str | None, Path]] = {}
    for folder in folders:
        versions = {
            one.name: one for one in _subfolders(folder) if one.name.isdecimal() and any(one.iterdir())
        }
        if versions:
            models[folder.name] = {**_by_number(versions)}
        elif _is_model(folder):
            models[folder.name] = {None: folder}
    # One known model makes it a repository; then a version with nothing known in it is there too, so that
    # loading it can say what is wrong.
    if any(_is_model(folder) for versions in models.values() for folder in versions.values()):
        return models
    return None


def _by_number(versions: Mapping[str, Path]) -> dict[str, Path]:
    return dict(sorted(versions.items(), key=lambda item: int(item[0])))


def _subfolders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith((".", "__")))


def _is_model(path: Path) -> bool:
    return (path / "MLmodel").is_file() or bool(_candidates(path))


def _in_folder(path: Path, wanted: str | None = None) -> tuple[type[Runtime], Path]:
    """KServe's rule: exactly one model file, of the format that was named if one was, at the top level."""
    candidates = _candidates(path)
    if wanted is not None and candidates:
        candidates = agreeing(candidates, wanted, path)
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise LoadError(
            f"{path}: More than one model file is detected, Only one is allowed within model_dir: {names}. "
            "Name one of them, or serve them all: --model NAME=PATH --model NAME=PATH"
        )
    if candidates:
        ((file, found),) = candidates.items()
        return _only(found, file), file
    content = sorted(one.name + "/" * one.is_dir() for one in path.iterdir())
    if not content:
        raise LoadError(f"{path}: the folder is empty.")
    if models := repository(path):
        raise LoadError(
            f"{path}: holds no model itself, but folders that do: {_some(list(models))}. "
            "Serve it as a repository, or name one of them."
        )
    raise LoadError(f"{path}: no model file. Found: {_some(content)}. Known endings: {_known()}.")


def _candidates(path: Path) -> dict[Path, list[type[Runtime]]]:
    """The model files at the top level of a folder, each with the runtimes that know it."""
    files = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
    return {file: found for file in files if (found := _runtimes_of(file))}


def _runtimes_of(path: Path) -> list[type[Runtime]]:
    """The runtimes that know this file."""
    suffix = path.suffix.lower()
    if others := [
        runtime
        for runtime in _others(tuple(sys.path))
        if suffix in runtime.suffixes and runtime.recognises(path)
    ]:
        return others
    known = (entry.load() for entry in RUNTIMES if suffix in entry.suffixes)
    return [runtime for runtime in known if runtime.recognises(path)]


@functools.cache
def _others(search_path: tuple[str, ...]) -> tuple[type[Runtime], ...]:
    """Runtimes of other packages. One that cannot be imported must not keep the rest from serving.

    Looking for them opens a file of each package that is installed, which a server must not do every few seconds.
    """
    del search_path  # what is found depends on it
    found: list[type[Runtime]] = []
    for point in entry_points(group=GROUP):
        try:
            runtime: object = point.load()
        except Exception as error:  # noqa: BLE001 (the module is not ours, and may raise anything)
            _log.warning("entry point %s = %s: left out: %s", point.name, point.value, error)
            continue
        if isinstance(runtime, type) and issubclass(runtime, Runtime):
            found.append(runtime)
        else:
            _log.warning("entry point %s = %s: left out: it is no Runtime", point.name, point.value)
    return tuple(found)


def _names_of_others() -> list[str]:
    return [runtime.name for runtime in _others(tuple(sys.path))]


def _only(found: list[type[Runtime]], path: Path) -> type[Runtime]:
    if len(found) == 1:
        return found[0]
    names = " and ".join(runtime.name for runtime in found)
    raise LoadError(f"{path}: {names} both know this file. Give it an ending that only one of them knows.")


def _unknown(path: Path) -> str:
    """Why no runtime knows a file."""
    suffix = path.suffix.lower()
    if names := [entry.name for entry in RUNTIMES if suffix in entry.suffixes]:
        with path.open("rb") as file:
            start = file.read(16)
        if not start:
            return EMPTY
        return (
            f"ends in {suffix}, but is no model of {' or '.join(names)} (it begins with {start!r}). "
            "Save or download it again."
        )
    if suffix == ".py":
        return f"name the class in it that derives from modelport.Model: {path.name}:MyModel"
    return f"no runtime knows {f'the ending {suffix}' if suffix else 'a file without an ending'}. Known: {_known()}."


def _known() -> str:
    """All endings with their runtimes."""
    ours = [f"{' '.join(entry.suffixes)} ({entry.name})" for entry in RUNTIMES]
    return ", ".join(
        [*ours, *(f"{' '.join(runtime.suffixes)} ({runtime.name})" for runtime in _others(tuple(sys.path)))]
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _mlflow(path: Path, wanted: str | None = None) -> tuple[type[Runtime], Path]:
    """The artifact that an `MLmodel` file points at; that of the flavor that was named, if one was."""
    flavors = _flavors(path / "MLmodel")
    if wanted not in (None, MLFLOW, *flavors):
        raise disagreement(path, f"an MLmodel with the flavors {', '.join(flavors) or '(none)'}", str(wanted))
    flavor = next(
        (name for name in _FLAVORS if name == wanted or (wanted in (None, MLFLOW) and name in flavors)), None
    )
    if flavor is None:
        raise LoadError(
            f"{path}/MLmodel: has the flavors {', '.join(flavors) or '(none)'}, of which none can be served. "
            f"Log the model with one of {', '.join(_FLAVORS)}."
        )
    key = _FLAVORS[flavor]
    named = flavors[flavor].get(key)
    if not isinstance(named, str):
        raise LoadError(f"{path}/MLmodel: flavors.{flavor}.{key} is missing. Log the model again.")
    artifact = path / named
    if not artifact.resolve().is_relative_to(path.resolve()):
        raise LoadError(f"{path}/MLmodel: flavors.{flavor}.{key} points out of the folder: {named}")
    if artifact.is_dir():
        return _in_folder(artifact, flavor)
    if not artifact.is_file():
        raise LoadError(f"{path}/MLmodel: flavors.{flavor}.{key} names {named}, which is not there.")
    # A scikit-learn wrapper of xgboost, lightgbm or catboost is a pickle under its framework's flavor.
    entry = next(entry for entry in RUNTIMES if entry.name == flavor)
    pickles = RUNTIMES[0]
    return (pickles if artifact.suffix.lower() in pickles.suffixes else entry).load(), artifact


def _flavors(path: Path) -> dict[str, dict[str, object]]:
    """The flavors in an `MLmodel` file, which is YAML."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError as error:
        raise LoadError(
            f"{path}: is YAML, which needs a package to be read. Run: pip install pyyaml"
        ) from error
    try:
        content: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: is no YAML: {error}") from error
    flavors: object = cast("dict[str, object]", content).get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict):
        raise LoadError(f"{path}: has no flavors, so it is no model of MLflow.")
    return {
        name: cast("dict[str, object]", flavor)
        for name, flavor in cast("dict[str, object]", flavors).items()
        if isinstance(flavor, dict)
    }
