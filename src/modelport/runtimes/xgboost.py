"""XGBoost boosters, answering as `Booster.predict` does."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (XGBoost is loaded late and so untyped here)

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from modelport.protocol.datatype import Array
from modelport.runtimes.framework import framework
from modelport.runtimes.table import codes, shape_of
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings
from modelport.server.signature import Signature, TensorSpec, enriched

_DATATYPE = {"int": "INT64", "i": "BOOL", "c": "INT64"}
"""Datatypes of XGBoost's feature types, where not FP32. A categorical of unknown categories is its codes."""


class XgboostRuntime(Runtime):
    """XGBoost, from its JSON and UBJSON files."""

    name: ClassVar[str] = "xgboost"
    extra: ClassVar[str] = "xgboost"
    modules: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "xgboost")
    suffixes: ClassVar[tuple[str, ...]] = (".ubj", ".bst", ".json", ".model", ".deprecated")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """`.json` may be anything, `.bst` and `.model` may be LightGBM's."""
        suffix = path.suffix.lower()
        if suffix not in cls.suffixes or not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(65536)
        if head[:1] == b"{":
            return b"learner" in head
        return suffix in (".bst", ".model", ".deprecated") and (head[:4] == b"binf" or not _is_text(head))

    @classmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the booster in `path`, whatever its ending."""
        xgboost = framework("xgboost", cls.extra)
        content = path.read_bytes()
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(content))  # from memory: the ending may be wrong for the content
        except xgboost.core.XGBoostError as error:
            if content[:1] != b"{":
                raise LoadError(
                    f"{path}: neither JSON nor UBJSON, and XGBoost {xgboost.__version__} cannot read it. If it is in "
                    "XGBoost's old binary format: load it with pip install 'xgboost<3.1', and save it again as "
                    "model.ubj."
                ) from error
            reason = str(error).split("\n", 1)[0]
            raise LoadError(f"{path}: XGBoost {xgboost.__version__} cannot read it ({reason}).") from error
        return XgboostModel(
            booster, settings, "xgboost_json" if content[:2] in (b'{"', b"{\n") else "xgboost_ubj"
        )


class XgboostModel(LoadedModel):
    """A booster."""

    accepts_missing = True

    def __init__(self, booster: Any, settings: Settings, platform: str) -> None:
        self.platform = platform
        self._booster = booster
        booster.set_param({"nthread": settings.threads})
        learner: Any = json.loads(booster.save_config())["learner"]
        kind: str = learner["gradient_booster"]["name"]
        objective: str = learner["objective"]["name"]
        specs = column_specs(booster)
        self.signature = enriched(
            settings.signature, Signature(specs, _outputs(learner, objective), "columns")
        )
        # Neither pandas nor XGBoost's own recoding is needed: codes are positions in the list of categories.
        self._codes: dict[str, dict[object, int]] = {}
        for spec in self.signature.inputs:
            known = next(
                (mine.categories for mine in specs if mine.name == spec.name and mine.categories), None
            )
            known = known or spec.categories
            if known is not None:
                self._codes[spec.name] = {value: code for code, value in enumerate(known)}
            elif spec.datatype == "BYTES":
                raise LoadError(
                    f'signature.inputs: column "{spec.name}" is text, but neither the booster nor the signature knows '
                    "its categories. Add them to the signature, in the order of training."
                )
        self._in_place = kind == "gbtree"  # gblinear cannot, dart differs from DMatrix in the last bit
        self._threads = settings.threads
        self._dmatrix: Any = framework("xgboost", "xgboost").DMatrix
        rounds: int = booster.num_boosted_rounds()
        self.description = f"XGBoost {kind} {objective}, {shape_of(self.signature.inputs)}, {rounds} rounds"
        unsaid = [
            name
            for name, type_ in zip(booster.feature_names or (), booster.feature_types or (), strict=False)
            if type_ == "c" and name not in self._codes
        ]
        if unsaid:
            note = (
                f"the file does not hold the categories of {', '.join(unsaid)}: send their codes, or save a signature "
                "with categories beside the model"
            )
            self.notes += (note,)
        best = booster.attr("best_iteration")
        if best is not None and int(best) + 1 < rounds:
            note = (
                f"training stopped early at round {best}, but all {rounds} rounds are used, as Booster.predict does: "
                "save booster[: best_iteration + 1] to serve the best"
            )
            self.notes += (note,)

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """What the objective gives: probabilities, classes or values, as FP32."""
        table = codes(inputs, self._codes)
        if self._in_place:
            result: Any = self._booster.inplace_predict(table, validate_features=False)
        else:
            data = self._dmatrix(table, nthread=self._threads)
            result = self._booster.predict(data, validate_features=False)
        return {"output-0": np.asarray(result)}


def column_specs(booster: Any) -> tuple[TensorSpec, ...]:
    """The columns of a booster; one matrix where they have no names."""
    names: list[str] | None = booster.feature_names
    width: int = booster.num_features()
    if names is None:
        return (TensorSpec("input-0", "FP32", (-1, width)),)
    types: list[str] = booster.feature_types or ["float"] * width
    known = _categories(booster) if "c" in types else {}
    return tuple(
        TensorSpec(
            name,
            "BYTES" if _is_words(known.get(index)) else _DATATYPE.get(kind, "FP32"),
            (-1,),
            known.get(index),
        )
        for index, (name, kind) in enumerate(zip(names, types, strict=True))
    )


def targets_of(booster: Any) -> int:
    """How many targets it was trained on at once; 1 for an ordinary one."""
    return int(json.loads(booster.save_config())["learner"]["learner_model_param"].get("num_target", "1"))


def _categories(booster: Any) -> dict[int, tuple[Any, ...]]:
    """Categories by column, which XGBoost stores from 3.1 on. Its own way to them needs pyarrow."""
    stored: Any = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    stored = stored.get("gbtree", stored).get("model", {}).get("cats", {})
    found: dict[int, tuple[Any, ...]] = {}
    for index, column in enumerate(stored.get("enc", ())):
        values: list[Any] = column.get("values", [])
        if not values:
            continue
        if (ends := column.get("offsets")) is not None:
            text = bytes(value & 0xFF for value in values)
            if not text.isascii():
                continue  # XGBoost up to 3.2 at least cuts them short: it counts characters for bytes (its #12360)
            found[index] = tuple(text[a:b].decode() for a, b in pairwise(ends))
        else:
            found[index] = tuple(values)
    return found


def _outputs(learner: Any, objective: str) -> tuple[TensorSpec, ...]:
    shape: dict[str, str] = learner["learner_model_param"]
    width = max(int(shape.get("num_class", "0")), int(shape.get("num_target", "1")))
    flat = width <= 1 or objective == "multi:softmax"
    return (TensorSpec("output-0", "FP32", (-1,) if flat else (-1, width)),)


def _is_words(categories: tuple[Any, ...] | None) -> bool:
    return categories is not None and isinstance(categories[0], str)


def _is_text(head: bytes) -> bool:
    return b"\0" not in head
