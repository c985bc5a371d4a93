"""Triton's Python backend: one call of the model for all requests that it is handed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

SETTINGS = json.loads((Path(__file__).parent / "settings.json").read_text())
sys.path.insert(0, SETTINGS["packages"])  # the stub ignores the virtual environment

import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402


class TritonPythonModel:
    """The three workloads' models."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the estimator and the inputs' names."""
        config = json.loads(args["model_config"])
        self.names = [tensor["name"] for tensor in config["input"]]
        if SETTINGS["workload"] == "tensor":
            self.predict = self.mean
            return
        import joblib

        model = joblib.load(Path(SETTINGS["model"]) / "model.joblib")
        if len(self.names) == 1:
            self.predict = lambda columns: model.predict(columns[0])
            return
        import pandas as pd

        def framed(columns: list[np.ndarray]) -> np.ndarray:
            named = zip(self.names, columns, strict=True)
            return model.predict(pd.DataFrame({name: flat(column) for name, column in named}))

        self.predict = framed

    @staticmethod
    def mean(columns: list[np.ndarray]) -> np.ndarray:
        """One number an item."""
        return columns[0].mean(axis=tuple(range(1, columns[0].ndim)))

    def execute(self, requests: list) -> list:
        """Joins the requests' rows, predicts once, hands the rows back."""
        columns = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self.names
        ]
        sizes = [len(first) for first in columns[0]]
        joined = [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in columns]
        result = self.predict(joined)
        result = result.reshape(-1, 1)
        if result.dtype != np.float32:
            result = result.astype(np.int64)
        answers, start = [], 0
        for size in sizes:
            output = pb_utils.Tensor("output-0", result[start : start + size])
            answers.append(pb_utils.InferenceResponse([output]))
            start += size
        return answers


def flat(column: np.ndarray) -> object:
    """A column of a frame: bytes become text."""
    values = column.ravel()
    return [v.decode() for v in values] if values.dtype == object else values
