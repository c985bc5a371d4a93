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
from modelport.server.format import catboost_kind, catboost_loss, catboost_predicted
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
        loss = catboost_loss(model)
        self._kinds = {proba: catboost_kind(model, proba) for proba in (False, True)}
        self._proba = settings.predict_proba and self._classifies
        if settings.predict_proba and not self._classifies:
            self.notes = (
                f"probabilities are asked for, but the model ({loss}) is no classifier: values are served",
            )
        categories, texts = set(model.get_cat_feature_indices()), set(model.get_text_feature_indices())
        names: list[str] = list(model.feature_names_)
        self._words = {names[index] for index in categories | texts}
        inputs = _specs(names, categories, texts)
        own = Signature(inputs, self._outputs(inputs), "columns")
        self.signature = enriched(settings.signature, own, proba=self._proba)
        said = f", {len(classes)} classes" if self._classifies else ""
        self.description = (
            f"CatBoost {loss}, {shape_of(self.signature.inputs)}{said}, {model.tree_count_} trees"
        )

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Labels, probabilities or values of all rows."""
        table: Any = self._table(inputs)
        kind = self._kind(parameters)
        result: Any = self._predict(
            self._model, table, prediction_type=kind, thread_count=self._threads, verbose=False
        )
        return {"output-0": catboost_predicted(result)}

    def _outputs(self, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """What it gives, seen from its answer to one row: how many values that has depends on the loss."""
        row: dict[str, Array] = {
            spec.name: np.array(["0"], object) if spec.datatype == "BYTES" else np.zeros((1, *spec.shape[1:]))
            for spec in inputs
        }
        try:
            answer = self.predict({"": row["input-0"]} if inputs[0].shape[1:] else row, {})
        except framework("catboost", "catboost").CatBoostError:
            return ()  # columns of its own kind, such as embeddings
        return tuple(
            TensorSpec(name, datatype_of(array.dtype), (-1, *array.shape[1:]))
            for name, array in answer.items()
        )

    def _kind(self, parameters: Mapping[str, object]) -> str:
        wanted = parameters.get("predict_proba")
        if wanted is None:
            wanted = self._proba
        if not isinstance(wanted, bool):
            raise InvalidInput(f"parameters.predict_proba: must be true or false, got {wanted!r}.")
        if wanted and not self._classifies:
            raise InvalidInput("parameters.predict_proba: the CatBoost model is no classifier. Leave it out.")
        return self._kinds[wanted]

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
