"""scikit-learn estimators and pipelines, and whatever else has `predict` and was pickled."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (scikit-learn is untyped, and so are its estimators and what they return)

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any, ClassVar, cast

import numpy as np

from modelport.protocol.datatype import Array, datatype_of
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.frame import columns as columns_of_frame
from modelport.protocol.frame import is_frame
from modelport.runtimes import estimator as fitted
from modelport.runtimes.framework import framework, limit_threads
from modelport.runtimes.outputs import outputs_of
from modelport.runtimes.shortcut.entry import Quick, Taken, shortcuts_of
from modelport.runtimes.skopsfile import load_skops
from modelport.runtimes.structure import final, is_native, walk
from modelport.runtimes.table import frame, matrix
from modelport.runtimes.unpickle import load_joblib, modules_named, saved_versions
from modelport.server.columns import Given, arrange, first_unusable
from modelport.server.courtesy import let_pass
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings
from modelport.server.signature import Signature, TensorSpec, enriched

_FORM = {".joblib": "joblib", ".pkl": "pickle", ".pickle": "pickle", ".skops": "skops"}


class SklearnRuntime(Runtime):
    """scikit-learn, from joblib, pickle and skops files."""

    name: ClassVar[str] = "sklearn"
    extra: ClassVar[str] = "sklearn"
    modules: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "sklearn", "joblib")
    suffixes: ClassVar[tuple[str, ...]] = tuple(_FORM)

    @classmethod
    def needs(cls, path: Path) -> Iterable[str]:
        """The frameworks' modules that a pickle names, and pandas where columns have names for sure."""
        named = modules_named(path)
        return [*named, "pandas"] if "sklearn.compose._column_transformer" in named else named

    @classmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the estimator in `path`."""
        sklearn = framework("sklearn", cls.extra)
        versions: list[str] = []
        with saved_versions(versions):
            if path.suffix.lower() == ".skops":
                model = load_skops(path, settings.allow_pickle)
            elif settings.allow_pickle:
                model = load_joblib(path)
            else:
                raise LoadError(
                    f"{path}: a {_FORM[path.suffix.lower()]} file can run any code when it is loaded, and pickles "
                    "are not allowed here. Save the model with skops instead: skops.io.dump(model, "
                    f"'{path.stem}.skops')"
                )
        notes = tuple(
            f"saved by scikit-learn {version}, running {sklearn.__version__}" for version in versions
        )
        limit_threads(settings.threads)
        return wrap(model, path, settings, f"sklearn_{_FORM[path.suffix.lower()]}", notes)


def wrap(
    model: Any, path: Path, settings: Settings, platform: str, notes: tuple[str, ...] = ()
) -> LoadedModel:
    """An unpickled object as a model; boosters that were pickled bare go to their own runtime."""
    library = type(model).__module__.split(".")[0]
    if library == "xgboost" and type(model).__name__ == "Booster":
        from modelport.runtimes.xgboost import XgboostModel

        return XgboostModel(model, settings, platform)
    if library == "lightgbm" and type(model).__name__ == "Booster":
        from modelport.runtimes.lightgbm import LightgbmModel

        return LightgbmModel(model, settings, platform)
    if library == "catboost":
        from modelport.runtimes.catboost import CatboostModel

        return CatboostModel(model, settings, platform)
    _check(model, path)
    return SklearnModel(model, settings, platform, notes)


class SklearnModel(LoadedModel):
    """A fitted estimator."""

    def __init__(self, model: Any, settings: Settings, platform: str, notes: tuple[str, ...] = ()) -> None:
        self.platform = platform
        self.notes = notes
        self._model = model
        self._documents = fitted.takes_documents(model)
        self._names = fitted.names_of(model)
        width = 1 if self._documents else fitted.width_of(model)
        columns = [] if width is None else fitted.columns_of(model, width)
        if self._documents:
            columns = [fitted.Column("BYTES")]
        self._proba = settings.predict_proba
        if self._proba and not hasattr(model, "predict_proba"):
            self._proba = False
            self.notes += (
                f"probabilities are asked for, but {_name(final(model))} has no predict_proba: labels are served",
            )
        inferred = _specs(columns, self._names, self._documents)
        unknown = any(column.datatype == "" for column in columns)
        outputs = outputs_of(model, self._proba)
        # Where a column's datatype is unknown and nobody has saved it, the signature cannot be public, but names and
        # order are known.
        is_said = settings.signature is not None and bool(settings.signature.inputs)
        own = Signature(() if unknown and not is_said else inferred, outputs, "columns")
        self.signature = enriched(settings.signature, own, proba=self._proba)
        self._inner = (
            Signature(inferred, outputs, "columns") if unknown and settings.signature is None else None
        )
        self._order = self._reordering()
        self._framed = self._names is not None and _needs_frame(model, columns)
        named = dict(zip(self._names or (), columns, strict=False))
        said = {spec.name: spec.categories for spec in self.signature.inputs}
        self._categories: dict[str, Any] = {}
        for name, column in named.items():
            if column.dtype_category:
                self._categories[name] = said.get(name) or column.categories
                if column.datatype == "" and self._categories[name] is None:
                    raise LoadError(
                        f'{_name(model)}: column "{name}" is categorical, and the file does not hold its categories. '
                        "Save a signature with its categories, in the order of training, beside the model, or train "
                        "it again with XGBoost 3.1 or later and categories in ASCII."
                    )
        self._is_single = fitted.is_single(model)
        self._keeps_none = frozenset(name for name, column in named.items() if column.none)
        self.accepts_missing = not self._documents and fitted.accepts_missing(model)
        self.batchable = not fitted.mixes_rows(model)
        self.description = _describe(model, self._told(columns), self._names, self._documents)
        self._declared = {
            spec.name: np.dtype(np.float64) for spec in self.signature.outputs if spec.datatype == "FP64"
        }
        _prepare(model, settings.threads, keep_names=self._framed)
        self._threads = settings.threads
        self._limited: set[int] = set()
        """Threads that have been told how many they may use."""
        self._labels = "predict" if hasattr(model, "predict") else "transform"
        self._shortcuts = self._proven_shortcuts() if settings.shortcuts else {}
        if self._shortcuts:
            self.remarks = ("predicts by shortcut",)

    def _told(self, columns: list[fitted.Column]) -> list[fitted.Column]:
        """The columns with the datatypes of the signature, which an example may know better than the estimator."""
        said = {spec.name: spec.datatype for spec in self.signature.inputs}
        names = self._names or [""] * len(columns)
        return [
            column._replace(datatype=said.get(name, column.datatype))
            for name, column in zip(names, columns, strict=True)
        ]

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Labels, values or probabilities of all rows."""
        method = self._method(parameters) if parameters else None
        if method is None:
            method = "predict_proba" if self._proba else self._labels
        if (thread := get_ident()) not in self._limited:
            limit_threads(self._threads)
            self._limited.add(thread)
        arranged = inputs if self._inner is None else self._arranged(inputs)
        quick = self._shortcuts.get(method)
        if quick is None:
            return self._outputs(self._asked(method, arranged, inputs))
        try:
            result = quick(arranged)
        except Exception:  # noqa: BLE001 - the estimator's own method answers, or says what is wrong
            result = self._asked(method, arranged, inputs)
        return self._outputs(result)

    def _asked(self, method: str, arranged: Mapping[str, Array], inputs: Mapping[str, Array]) -> Any:
        """What the estimator's own method answers; its errors name the place in `inputs`, as they were sent."""
        table = self._table(arranged)
        try:
            return getattr(self._model, method)(table)
        except (ValueError, TypeError) as error:
            raise self._blamed(error, inputs) from error
        except Exception as error:
            if type(error).__name__ == "CatBoostError":
                raise self._blamed(error, inputs) from error
            if self.notes:
                raise InferenceError(self._with_version(error)) from error
            raise

    def _proven_shortcuts(self) -> Mapping[str, Quick]:
        if self._documents or self._categories or self._is_single or not is_native(self._model):
            return {}
        names = [spec.name for spec in (self._inner or self.signature).inputs]
        if not self._framed and self._names is None and (width := fitted.width_of(self._model)) is not None:
            names = [str(index) for index in range(width)]
        ours = weakref.ref(self)  # else a model that is unloaded would hold itself until garbage is collected

        def table(inputs: Mapping[str, Array]) -> Any:
            return cast("SklearnModel", ours())._table(inputs)

        taken = Taken(names, self._order is None, self._framed, self.accepts_missing, table, let_pass)
        return shortcuts_of(self._model, taken)

    def _method(self, parameters: Mapping[str, object]) -> str | None:
        wanted = parameters.get("predict_proba")
        if wanted is None:
            return None
        if not isinstance(wanted, bool):
            raise InvalidInput(f"parameters.predict_proba: must be true or false, got {wanted!r}.")
        if not wanted:
            return self._labels
        if not hasattr(self._model, "predict_proba"):
            raise InvalidInput(
                f"parameters.predict_proba: {_name(final(self._model))} has no predict_proba. "
                "Leave the parameter out, or train the model to give probabilities."
            )
        return "predict_proba"

    def _arranged(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Inputs by the names and order that are known, where the signature says nothing of them."""
        given = [Given(name, _datatype(array), array) for name, array in inputs.items() if name]
        if given and self._inner is not None:
            return arrange(given, self._inner, accepts_missing=True)
        return inputs

    def _table(self, inputs: Mapping[str, Array]) -> Any:
        if self._documents:
            (texts,) = inputs.values()
            return texts.reshape(-1).tolist()
        if self._is_single:
            kinds = "f" if self._framed else "biuf"  # a frame keeps whole numbers: they may be categories
            inputs = {
                name: array.astype(np.float32) if array.dtype.kind in kinds else array
                for name, array in inputs.items()
            }
        if self._framed:
            columns = [spec.name for spec in (self._inner or self.signature).inputs]
            data = frame(inputs, columns, self._categories, self._keeps_none)
            return data if self._order is None else data[self._names]
        table = matrix(inputs)
        return table if self._order is None else table[:, self._order]

    def _reordering(self) -> list[int] | None:
        """Where a signature saved beside the model has another order than the model."""
        names = [spec.name for spec in self.signature.inputs]
        if self._names is None or names == self._names or sorted(names) != sorted(self._names):
            return None
        return [names.index(name) for name in self._names]

    def _outputs(self, result: Any) -> dict[str, Array]:
        if type(result) is np.ndarray and (result.dtype == np.float64 or result.dtype.kind != "f"):
            return {"output-0": result}  # the hot path
        if is_frame(result):  # set_output("pandas")
            return columns_of_frame(result)
        results: list[Any] = [result]
        if isinstance(result, list) and result and _ndim(result[0]) == 2:
            results = result  # probabilities of several outputs
        outputs: dict[str, Array] = {}
        for index, each in enumerate(results):
            name = f"output-{index}"
            array: Any = np.asarray(each.toarray() if hasattr(each, "toarray") else each)
            declared = self._declared.get(name)
            if declared is not None and array.dtype.kind == "f":
                array = array.astype(declared, copy=False)  # FP32 in gives FP32 out; the signature says FP64
            outputs[name] = array
        return outputs

    def _blamed(self, error: Exception, inputs: Mapping[str, Array]) -> Exception:
        """The client's fault where the data show it, else the model's."""
        said = str(error)
        if "Found unknown categories" in said:
            return InvalidInput(f"inputs: {said}")
        if any(word in said for word in ("NaN", "nan", "infinity", "None", "missing")):
            where = first_unusable(inputs, self.signature)
            if where:
                return InvalidInput(
                    f"{where}, but the model takes no missing or infinite values there. "
                    "Send a number within the range of FP32, or train the model with an imputer before it."
                )
        return InferenceError(self._with_version(error))

    def _with_version(self, error: Exception) -> str:
        said = f"{_name(self._model)} failed: {type(error).__name__}: {error}"
        if self.notes and self.notes[0].startswith("saved by scikit-learn "):
            version = self.notes[0].split()[3].rstrip(",")
            return f"{said} (the model was {self.notes[0]}: try pip install scikit-learn=={version})"
        return said


def _check(model: Any, path: Path) -> None:
    """Refuses what cannot predict, and says what to save instead."""
    if isinstance(model, dict):
        keys = ", ".join(str(key) for key in list(model)[:5])
        raise LoadError(
            f"{path}: holds a dict with the keys {keys}, not a model. Save the estimator or pipeline itself."
        )
    if isinstance(model, type) or not (hasattr(model, "predict") or hasattr(model, "transform")):
        hint = "Save the fitted estimator or pipeline itself."
        if hasattr(model, "fit_predict"):
            hint = "It can only label the rows that it was fitted to. Save a model that predicts."
        raise LoadError(f"{path}: holds {_article(model)}, which has neither predict nor transform. {hint}")
    if fitted.takes_dicts(model):
        raise LoadError(
            f"{path}: its first step takes dicts of any keys, and a server knows tables and texts. Put a ColumnTransformer "
            "with OneHotEncoder there instead, or serve it from a modelport.Model of your own."
        )
    if is_native(model):
        not_fitted: type[Exception] = framework("sklearn.exceptions", "sklearn").NotFittedError
        try:
            framework("sklearn.utils.validation", "sklearn").check_is_fitted(model)
        except not_fitted as error:
            raise LoadError(
                f"{path}: the {_name(model)} was saved before it was fitted. Call fit, then save it again."
            ) from error


def _needs_frame(model: Any, columns: list[fitted.Column]) -> bool:
    """Whether something in a model that was fitted on a frame cannot do with a matrix."""
    if any(column.datatype in ("BYTES", "") for column in columns):
        return True
    for part in walk(model):
        if hasattr(part, "_sklearn_output_config"):  # set_output("pandas"): names are made from names
            return True
        if hasattr(part, "transformers_") and fitted.names_of(part) is not None:
            return True
        if type(part).__module__.split(".")[0] not in ("sklearn", "xgboost", "lightgbm", "catboost"):
            return True
    return False


def _prepare(model: Any, threads: int, keep_names: bool) -> None:
    """Makes the estimator predict quickly: few threads, and no warning a call about missing column names."""
    for part in walk(model):
        if hasattr(part, "n_jobs"):
            part.n_jobs = threads
        if not keep_names and "feature_names_in_" in getattr(part, "__dict__", ()):
            del part.feature_names_in_
        if type(part).__module__.startswith("xgboost.") and getattr(part, "_Booster", None) is not None:
            part.get_booster().set_param({"nthread": threads})
    warnings.filterwarnings("ignore", message="X does not have valid feature names")


def _specs(columns: list[fitted.Column], names: list[str] | None, documents: bool) -> tuple[TensorSpec, ...]:
    if documents:
        return (TensorSpec("text", "BYTES"),)
    if names is None:
        if columns and all(column.datatype not in ("BYTES", "") or column.optional for column in columns):
            return (TensorSpec("input-0", "FP64", (-1, len(columns))),)
        names = [str(index) for index in range(len(columns))]
    return tuple(
        TensorSpec(name, column.datatype, (-1,), column.categories, column.optional, column.text_or_integers)
        for name, column in zip(names, columns, strict=True)
    )


def _describe(model: Any, columns: list[fitted.Column], names: list[str] | None, documents: bool) -> str:
    said = [_name(model)]
    if documents:
        said.append("texts")
    elif columns:
        named = sorted(zip(names or (), columns, strict=False), key=lambda pair: pair[1].optional)
        some = [f"{name} {'unused' if one.optional else one.datatype}".strip() for name, one in named]
        listed = f" ({', '.join(some[:3])}{', …' if len(some) > 3 else ''})" if some else ""
        said.append(f"{len(columns)} column{'' if len(columns) == 1 else 's'}{listed}")
    classes = getattr(model, "classes_", None)
    if isinstance(classes, list):
        said.append(f"{len(classes)} outputs")
    elif classes is not None:
        said.append(f"{len(classes)} classes")
    return ", ".join(said)


def _datatype(array: Array) -> str:
    return "BYTES" if array.dtype == object else datatype_of(array.dtype)


def _ndim(value: Any) -> int:
    return int(getattr(value, "ndim", 0))


def _name(model: Any) -> str:
    return type(model).__name__


def _article(model: Any) -> str:
    name = _name(model)
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
