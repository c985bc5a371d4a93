"""CatBoost models: classifiers answer with labels or probabilities, others with their values."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (CatBoost is loaded late and so untyped here)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from modelport.protocol.datatype import Array, datatype_of
from modelport.protocol.errors import InvalidInput
from modelport.runtimes.framework import framework
from modelport.runtimes.table import matrix, shape_of
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings
from modelport.server.signature import Signature, TensorSpec, enriched


class CatboostRuntime(Runtime):
    """CatBoost, from its binary files."""

    name: ClassVar[str] = "catboost"
    extra: ClassVar[str] = "catboost"
    modules: ClassVar[tuple[str, ...]] = ("numpy", "pandas", "catboost")
    suffixes: ClassVar[tuple[str, ...]] = (".cbm",)

    @classmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the model in `path`."""
        catboost = framework("catboost", cls.extra)
        model = catboost.CatBoost()
        try:
            model.load_model(str(path), format="cbm")
        except catboost.CatBoostError as error:
            raise LoadError(f"{path}: CatBoost {catboost.__version__} cannot read it ({error}).") from error
        return CatboostModel(model, settings, "catboost_cbm")


class CatboostModel(LoadedModel):
    """A fitted model of any CatBoost class."""

    accepts_missing = True

    def __init__(self, model: Any, settings: Settings, platform: str) -> None:
        if not model.is_fitted():
            raise LoadError(
                f"{type(model).__name__}: saved before it was fitted. Call fit, then save it again."
            )
        self.platform = platform
        self._model = model
        # The class's own: that of a ranker takes no prediction_type.
        self._predict: Any = framework("catboost", "catboost").CatBoost.predict
        self._threads = settings.threads
        classes: Any = np.asarray(getattr(model, "classes_", []))
        self._classifies = len(classes) > 0
        loss = _loss(model)
        self._value_type = (
            "Exponent"
            if loss in ("Poisson", "Tweedie")
            else loss
            if loss == "RMSEWithUncertainty"
            else "RawFormulaVal"
        )
        self._proba = settings.predict_proba and self._classifies
        if settings.predict_proba and not self._classifies:
            self.notes = (
                f"probabilities are asked for, but the model ({loss}) is no classifier: values are served",
            )
        categories, texts = set(model.get_cat_feature_indices()), set(model.get_text_feature_indices())
        several = loss in ("MultiLogloss", "MultiCrossEntropy")
        outputs = (_output(classes, self._proba, several),) if self._classifies else ()
        if not self._classifies and not loss.startswith("Multi"):
            width = 2 if self._value_type == "RMSEWithUncertainty" else 1
            outputs = (TensorSpec("output-0", "FP64", (-1,) if width == 1 else (-1, width)),)
        names: list[str] = list(model.feature_names_)
        inputs = _specs(names, categories, texts)
        self.signature = enriched(settings.signature, Signature(inputs, outputs, "columns"))
        self._words = {names[index] for index in categories | texts}
        said = f", {len(classes)} classes" if self._classifies else ""
        self.description = (
            f"CatBoost {loss}, {shape_of(self.signature.inputs)}{said}, {model.tree_count_} trees"
        )

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Labels, probabilities or values of all rows."""
        table: Any = self._table(inputs)
        kind = self._kind(parameters)
        result: Any = np.asarray(
            self._predict(self._model, table, prediction_type=kind, thread_count=self._threads, verbose=False)
        )
        if kind != "Probability" and result.ndim == 2 and result.shape[1] == 1:
            result = result.reshape(-1)  # multiclass labels come as a column
        return {"output-0": result}

    def _kind(self, parameters: Mapping[str, object]) -> str:
        wanted = parameters.get("predict_proba")
        if wanted is None:
            wanted = self._proba
        if not isinstance(wanted, bool):
            raise InvalidInput(f"parameters.predict_proba: must be true or false, got {wanted!r}.")
        if wanted and not self._classifies:
            raise InvalidInput("parameters.predict_proba: the CatBoost model is no classifier. Leave it out.")
        if not self._classifies:
            return self._value_type
        return "Probability" if wanted else "Class"

    def _table(self, inputs: Mapping[str, Array]) -> Any:
        if not self._words or "" in inputs:
            return np.ascontiguousarray(matrix(inputs))
        columns: dict[str, Array] = {}
        for name, array in inputs.items():
            columns[name] = _words(name, array) if name in self._words else array.astype(np.float64)
        return framework("pandas", "catboost").DataFrame(columns, copy=False)


def _words(name: str, array: Array) -> Array:
    """A column of text, in which CatBoost wants no gaps."""
    row = next((row for row, value in enumerate(array.tolist()) if value is None), None)
    if row is not None:
        raise InvalidInput(
            f'row {row}, column "{name}": null, but CatBoost takes no missing text. Send "", or a word that stood '
            "for it in training."
        )
    return array


def _specs(names: list[str], categories: set[int], texts: set[int]) -> tuple[TensorSpec, ...]:
    nameless = names == [str(index) for index in range(len(names))]
    if nameless and not categories | texts:
        return (TensorSpec("input-0", "FP64", (-1, len(names))),)
    return tuple(
        TensorSpec(name, "BYTES", text_or_integers=True)
        if index in categories
        else TensorSpec(name, "BYTES" if index in texts else "FP64")
        for index, name in enumerate(names)
    )


def _output(classes: Any, proba: bool, several: bool) -> TensorSpec:
    """Labels or probabilities; `several`: each class is true or not for itself."""
    datatype = "FP64" if proba else datatype_of(classes.dtype)
    return TensorSpec("output-0", datatype, (-1, len(classes)) if proba or several else (-1,))


def _loss(model: Any) -> str:
    """The loss that it was trained with, such as `Logloss`."""
    try:
        parameters: dict[str, Any] = model.get_all_params()
    except Exception:  # noqa: BLE001 (files of other tools may carry no parameters)
        return ""
    return str(parameters.get("loss_function", "")).split(":")[0]
