"""Runs in a contender's environment: `train.py WORKLOAD FOLDER`.

Fits the workload's model with fixed seeds and leaves in the folder: `model.joblib`, `request.json`
(one V2 request), `request.bin` with `request.bin.header` (the binary extension's form of it, where
the workload has one) and `expected.json`, the right answer. Every environment trains for itself,
because a pickle belongs to the versions that wrote it; `run.py` checks that all of them agree.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np


def iris(folder: Path) -> None:
    """LogisticRegression on iris; one flower a request."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    rows, classes = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(rows, classes)
    joblib.dump(model, folder / "model.joblib")
    row = rows[76:77].astype(np.float32)
    write(folder, [tensor("input-0", row, "FP32")], int(model.predict(row)[0]))


def image(folder: Path) -> None:
    """No model: a picture's worth of numbers, and their mean."""
    values = np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)
    expected = float(values.mean(axis=(1, 2, 3))[0])
    write(folder, [tensor("input-0", values, "FP32")], expected)
    head: dict[str, Any] = {
        "id": "bench",
        "inputs": [
            {
                "name": "input-0",
                "shape": list(values.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": values.nbytes},
            }
        ],
    }
    encoded = json.dumps(head, separators=(",", ":")).encode()
    (folder / "request.bin").write_bytes(encoded + values.tobytes())
    (folder / "request.bin.header").write_text(str(len(encoded)))


def tabular(folder: Path) -> None:
    """Scaling and one-hot encoding before 500 boosted trees; one row of 30 mixed columns."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from xgboost import XGBClassifier

    random = np.random.default_rng(0)
    size, numeric, categorical = 4000, 20, 10
    numbers = random.normal(size=(size, numeric))
    levels = random.integers(0, 8, size=(size, categorical))
    frame = pd.DataFrame(numbers, columns=[f"number_{i}" for i in range(numeric)])
    for i in range(categorical):
        frame[f"colour_{i}"] = pd.Series([f"level-{v}" for v in levels[:, i]], dtype=object)
    score = numbers[:, :5].sum(axis=1) + (levels[:, 0] > 3) * 2.0 - (levels[:, 1] == 2) * 3.0
    target = (score + random.normal(scale=0.5, size=size) > 0).astype(int)
    names = list(frame.columns)
    model = Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        ("numbers", StandardScaler(), names[:numeric]),
                        ("colours", OneHotEncoder(handle_unknown="ignore"), names[numeric:]),
                    ]
                ),
            ),
            ("trees", XGBClassifier(n_estimators=500, max_depth=4, n_jobs=1, random_state=0)),
        ]
    ).fit(frame, target)
    joblib.dump(model, folder / "model.joblib")
    row = frame.iloc[[7]]
    inputs = [tensor(n, row[[n]].to_numpy(), "FP64") for n in names[:numeric]]
    inputs += [tensor(n, row[[n]].to_numpy(), "BYTES") for n in names[numeric:]]
    # "pd" asks KServe and MLServer for a data frame; the others know no such parameter.
    write(folder, inputs, int(model.predict(row)[0]), {"content_type": "pd"})


def tensor(name: str, values: np.ndarray, datatype: str) -> dict[str, Any]:
    """A V2 tensor with its data as JSON."""
    data = [float(str(v)) if datatype == "FP32" else v for v in values.ravel()]
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": data}


def write(
    folder: Path,
    inputs: list[dict[str, Any]],
    expected: float,
    parameters: dict[str, Any] | None = None,
) -> None:
    """The request and its right answer."""
    request: dict[str, Any] = {"id": "bench", "inputs": inputs}
    if parameters:
        request["parameters"] = parameters
    (folder / "request.json").write_text(json.dumps(request, separators=(",", ":")))
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    into = Path(sys.argv[2])
    into.mkdir(parents=True, exist_ok=True)
    {"iris": iris, "tensor": image, "tabular": tabular}[sys.argv[1]](into)
