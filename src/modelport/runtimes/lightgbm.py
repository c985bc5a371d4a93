"""LightGBM boosters, answering as `Booster.predict` does."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (LightGBM is loaded late and so untyped here)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from modelport.protocol.datatype import Array
from modelport.runtimes.framework import framework
from modelport.runtimes.table import codes, shape_of
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings
from modelport.server.signature import Signature, TensorSpec, enriched


class LightgbmRuntime(Runtime):
    """LightGBM, from its text model files."""

    name: ClassVar[str] = "lightgbm"
    extra: ClassVar[str] = "lightgbm"
    modules: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "lightgbm")
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".bst", ".lgb", ".model")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A text model begins with the line `tree`."""
        if path.suffix.lower() not in cls.suffixes or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.readline(16).strip() == b"tree"

    @classmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the text model in `path`."""
        lightgbm = framework("lightgbm", cls.extra)
        with path.open("rb") as file:
            if file.readline(16).strip() != b"tree":
                raise LoadError(
                    f"{path}: not a LightGBM text model, which begins with the line `tree`. Save it with "
                    "Booster.save_model, or a scikit-learn wrapper with joblib as .joblib."
                )
        try:
            booster = lightgbm.Booster(model_file=str(path))
        except lightgbm.basic.LightGBMError as error:
            raise LoadError(f"{path}: LightGBM {lightgbm.__version__} cannot read it ({error}).") from error
        return LightgbmModel(booster, settings, "lightgbm_txt")


class LightgbmModel(LoadedModel):
    """A booster."""

    accepts_missing = True

    def __init__(self, booster: Any, settings: Settings, platform: str) -> None:
        self.platform = platform
        self._booster = booster
        self._threads = settings.threads
        names: list[str] = booster.feature_name()
        known = column_categories(booster)
        classes: int = booster.num_model_per_iteration()
        outputs = (TensorSpec("output-0", "FP64", (-1,) if classes == 1 else (-1, classes)),)
        self.signature = enriched(settings.signature, Signature(_specs(names, known), outputs, "columns"))
        by_name = {name: known[index] for index, name in enumerate(names) if index in known}
        for spec in self.signature.inputs:
            if spec.name not in by_name and spec.categories is not None and spec.datatype == "BYTES":
                by_name[spec.name] = spec.categories
        self._codes = {
            name: {value: code for code, value in enumerate(values)} for name, values in by_name.items()
        }
        objective = str(getattr(booster, "params", {}).get("objective", "")).strip()
        rounds: int = booster.current_iteration()
        self.description = " ".join(filter(None, ("LightGBM", objective))) + (
            f", {shape_of(self.signature.inputs)}, {rounds} rounds"
        )

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """What the objective gives: probabilities or values, as FP64."""
        table: Any = codes(inputs, self._codes)
        if table.dtype.kind != "f" or table.dtype.itemsize < 4:
            table = table.astype(np.float64)  # LightGBM would make FP32 of integers
        result: Any = self._booster.predict(table, num_threads=self._threads)
        return {"output-0": np.asarray(result)}


def column_categories(booster: Any) -> dict[int, tuple[Any, ...]]:
    """Categories by column, of those that were pandas categoricals in training."""
    stored: list[list[Any]] | None = booster.pandas_categorical
    if not stored:
        return {}
    indices = _categorical_indices(booster)
    if len(indices) != len(
        stored
    ):  # integer columns were named categorical too: which is which is not stored
        return {}
    return {index: tuple(values) for index, values in zip(indices, stored, strict=True)}


def _categorical_indices(booster: Any) -> list[int]:
    text: str = booster.model_to_string(num_iteration=1)
    for line in text.splitlines():
        if line.startswith("[categorical_feature: "):
            inside = line.removeprefix("[categorical_feature: ").rstrip("]")
            return sorted(int(index) for index in inside.split(",") if index.strip().isdigit())
    return []


def _specs(names: list[str], known: dict[int, tuple[Any, ...]]) -> tuple[TensorSpec, ...]:
    if names == [
        f"Column_{index}" for index in range(len(names))
    ]:  # LightGBM's names for columns without one
        return (TensorSpec("input-0", "FP64", (-1, len(names))),)
    # No categories: LightGBM takes an unknown one for a missing value, and so it is not refused.
    return tuple(
        TensorSpec(name, "BYTES" if any(isinstance(value, str) for value in known.get(index, ())) else "FP64")
        for index, name in enumerate(names)
    )
