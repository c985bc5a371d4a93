"""Models of our own where KServe's documentation has its: `models.py FOLDER` fills what stands for its buckets.

Each is trained as the page that uses it says, under the file name that KServe's buckets have, so that the documented
requests get the documented classes. It runs in Modelport's environment; the tests run in the kserve SDK's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import onnx
import pandas as pd
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC

TEXTS = ["MSZoning", "LotShape", "Utilities", "Neighborhood", "SaleType"]
NUMBERS = ["LotArea", "YrSold", "OverallQual", "YearBuilt", "GarageArea"]
ROWS, CLASSES = load_iris(return_X_y=True)


def sklearn(folder: Path) -> None:
    """`gs://kfserving-examples/models/sklearn/…`, as on the pages scikit-learn, canary and multiple storage URIs."""
    models = {
        "1.0/model": SVC(gamma="scale"),
        "1.0/model-2": RandomForestClassifier(n_estimators=10, random_state=0),
        "iris": SVC(gamma="scale"),
    }
    for where, model in models.items():
        put = folder / "sklearn" / where
        put.mkdir(parents=True)
        joblib.dump(model.fit(ROWS, CLASSES), put / "model.joblib")
    mixed = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), TEXTS), remainder="passthrough"),
        DummyRegressor(strategy="constant", constant=12.202832815138274),  # what KServe's own test expects
    )
    house = pd.DataFrame([dict.fromkeys(TEXTS, "RL") | dict.fromkeys(NUMBERS, 1)], columns=[*TEXTS, *NUMBERS])
    put = folder / "sklearn" / "1.3" / "mixedtype"
    put.mkdir(parents=True)
    joblib.dump(mixed.fit(house, [1.0]), put / "model.joblib")


def boosted(folder: Path) -> None:
    """`…/models/xgboost/iris` and `…/models/lightgbm/v2/iris`, with the parameters of their pages."""
    params = {"max_depth": 6, "eta": 0.1, "nthread": 1, "num_class": 10, "objective": "multi:softmax"}
    trees = xgboost.train(params, xgboost.DMatrix(ROWS, label=CLASSES))
    for where in ("iris", "1.5/model"):
        (folder / "xgboost" / where).mkdir(parents=True)
    trees.save_model(folder / "xgboost" / "iris" / "model.bst")
    trees.save_model(folder / "xgboost" / "1.5" / "model" / "model.json")
    columns = ["sepal_length_(cm)", "sepal_width_(cm)", "petal_length_(cm)", "petal_width_(cm)"]
    params = {
        "objective": "multiclass",
        "metric": "softmax",
        "num_class": 3,
        "verbosity": -1,
        "num_threads": 1,
    }
    light = lightgbm.train(params, lightgbm.Dataset(ROWS, label=CLASSES, feature_name=columns))
    for where in ("iris", "v2/iris"):
        (folder / "lightgbm" / where).mkdir(parents=True)
        light.save_model(folder / "lightgbm" / where / "model.bst")


def linear(folder: Path) -> None:
    """`…/models/onnx/model.onnx`: doubles its input."""
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y")]
    two = numpy_helper.from_array(np.array([2], dtype=np.float32), "two")
    graph = helper.make_graph([node], "double", value[:1], value[1:], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "onnx").mkdir()
    onnx.save(model, folder / "onnx" / "model.onnx")


def mlflow(folder: Path) -> None:
    """`…/models/mlflow/wine`: a folder as `mlflow.sklearn.log_model` leaves it, of the documented columns."""
    names = "fixed acidity,volatile acidity,citric acid,residual sugar,chlorides,free sulfur dioxide"
    columns = [*names.split(","), "total sulfur dioxide", "density", "pH", "sulphates", "alcohol"]
    table = pd.DataFrame(np.random.default_rng(0).random((60, len(columns))), columns=columns)
    put = folder / "mlflow" / "wine"
    put.mkdir(parents=True)
    joblib.dump(LinearRegression().fit(table, table["alcohol"] / 2 + 1), put / "model.pkl")
    (put / "MLmodel").write_text(
        "flavors:\n  sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle}\nmlflow_version: 2.0.0\n"
    )


def means(folder: Path) -> None:
    """`…/models/means`: the format of `examples/own-runtime.yaml`."""
    (folder / "means").mkdir()
    (folder / "means" / "means.txt").write_text("0.5\n5\n")


if __name__ == "__main__":
    models = Path(sys.argv[1]) / "models"
    sklearn(models)
    boosted(models)
    linear(models)
    mlflow(models)
    means(models)
