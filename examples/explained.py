"""A model that explains its predictions: how much each column adds to a linear model's answer.

    modelport serve examples/explained.py:Progression
    curl localhost:8080/v1/models/progression:explain -d '{"instances": [[0.05, 0.02]]}'

The data are scikit-learn's diabetes patients: body mass index and blood pressure, both centred and scaled.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

import modelport

COLUMNS = ["bmi", "bp"]


class Progression(modelport.Model):
    def load(self) -> None:
        data = load_diabetes(as_frame=True)
        self.model = LinearRegression().fit(data.data[COLUMNS].to_numpy(), data.target)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        return {"predictions": self.model.predict(np.asarray(payload["instances"]))}

    def explain(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        parts = np.asarray(payload["instances"]) * self.model.coef_
        return {
            "explanations": [
                {"base": self.model.intercept_, **dict(zip(COLUMNS, row, strict=True))} for row in parts
            ]
        }
