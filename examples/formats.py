"""One model in three formats: XGBoost's own, LightGBM's own, and ONNX. Train, save, deploy each.

    python examples/formats.py ./models
    modelport deploy ./models/wine-xgboost
    modelport deploy ./models/wine-lightgbm
    modelport deploy ./models/wine-onnx            # wants: pip install skl2onnx 'modelport[onnx]'
    modelport predict wine-xgboost                 # asks with the example that was saved
    modelport predict wine-onnx -d ./models/wine-onnx.json

Boosters answer with a probability for each class, as KServe's servers do. Nothing is unpickled: what is deployed is a
text or a graph. `requirements.txt` beside the XGBoost model says what it needs; the platform has that already, so that no
environment is built for it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_wine

import modelport


def xgboost(folder: Path, x: Any, y: Any) -> None:
    """`model.ubj`, and what it needs."""
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1).fit(x, y)
    modelport.save(model, folder, example=x[:2], overwrite=True)
    (folder / "requirements.txt").write_text("xgboost-cpu>=2\n")


def lightgbm(folder: Path, x: Any, y: Any) -> None:
    """`model.txt`."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1).fit(x, y)
    modelport.save(model, folder, example=x[:2], overwrite=True)


def onnx(folder: Path, x: Any, y: Any) -> None:
    """`model.onnx` of a scikit-learn pipeline; V2 asks for float32, as the graph does."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    rows = x.astype(np.float32)
    graph = to_onnx(model, rows[:1], options={"zipmap": False})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    # A request of one's own, for a model that `modelport.save` has not seen.
    tensor = {"name": "X", "shape": [2, x.shape[1]], "datatype": "FP32", "data": rows[:2].ravel().tolist()}
    (folder.parent / "wine-onnx.json").write_text(json.dumps({"inputs": [tensor]}))


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "models")
    x, y = load_wine(return_X_y=True)
    makers = {"xgboost": (xgboost, "xgboost"), "lightgbm": (lightgbm, "lightgbm"), "onnx": (onnx, "skl2onnx")}
    for name, (make, needs) in makers.items():
        if importlib.util.find_spec(needs) is None:
            print(f"{name}: left out, {needs} is not installed")
            continue
        make(folder / f"wine-{name}", x, y)
        print(f"modelport deploy {folder}/wine-{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
