"""The metadata's outputs are what comes: clients make room for what it says."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pytest
from asking import ask, settings
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_iris, load_linnerud, make_multilabel_classification
from sklearn.ensemble import BaggingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import MissingIndicator
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVR

from modelport.protocol.datatype import datatype_of
from modelport.runtimes.sklearn import SklearnRuntime

catboost = pytest.importorskip("catboost")
lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")
compose = pytest.importorskip("sklearn.compose")

IRIS = load_iris(return_X_y=True)
SEVERAL = load_linnerud(return_X_y=True)
LABELS = make_multilabel_classification(n_features=6, random_state=0)
ONE = SEVERAL[0], SEVERAL[1][:, 0]
COLUMN = SEVERAL[0], SEVERAL[1][:, :1]
GROUPS = np.repeat(np.arange(15), 10)
CAT = {"iterations": 3, "verbose": 0, "allow_writing_files": False, "bootstrap_type": "No"}

FITS = {
    "several values": lambda: [
        (Ridge(), SEVERAL),
        (RegressorChain(Ridge()), SEVERAL),
        (MultiOutputRegressor(Ridge()), SEVERAL),
        (KernelRidge(), SEVERAL),
        (RandomForestRegressor(2), SEVERAL),
        (GaussianProcessRegressor(), SEVERAL),
        (KNeighborsRegressor(), SEVERAL),
        (BaggingRegressor(Ridge(), n_estimators=2), SEVERAL),
        (PLSRegression(2), SEVERAL),
        (compose.TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1), SEVERAL),
        (xgboost.XGBRegressor(n_estimators=2), SEVERAL),
        (
            xgboost.XGBRegressor(
                n_estimators=2, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]
            ),
            ONE,
        ),
    ],
    "one value": lambda: [
        (LinearRegression(), ONE),
        (LinearRegression(), COLUMN),
        (RandomForestRegressor(2), COLUMN),
        (PLSRegression(1), ONE),
        (SVR(kernel="linear"), ONE),
        (KNeighborsRegressor(), ONE),
        (BaggingRegressor(n_estimators=2), ONE),
        (compose.TransformedTargetRegressor(Ridge()), ONE),
        (xgboost.XGBRegressor(n_estimators=2), ONE),
        (lightgbm.LGBMRegressor(n_estimators=2, verbose=-1), ONE),
    ],
    "labels": lambda: [
        (ClassifierChain(LogisticRegression()), LABELS),
        (MLPClassifier(max_iter=2), LABELS),
        (RidgeClassifier(), LABELS),
        (KNeighborsClassifier(), LABELS),
        (RandomForestClassifier(2), LABELS),
        (xgboost.XGBClassifier(n_estimators=2), LABELS),
        (catboost.CatBoostClassifier(loss_function="MultiLogloss", **CAT), LABELS),
        (GaussianMixture(2), IRIS),
        (LogisticRegression(max_iter=200), IRIS),
    ],
}


def agrees(model, table, path, *, proba=False):
    joblib.dump(model, path / "model.joblib")
    loaded = SklearnRuntime.load(path / "model.joblib", settings(predict_proba=proba))
    outputs = ask(loaded, np.asarray(table)[:3])
    said = {spec.name: spec for spec in loaded.signature.outputs}
    name = f"{type(model).__name__}, proba {proba}"
    assert list(said) == list(outputs), name
    for output, array in outputs.items():
        assert said[output].datatype == datatype_of(array.dtype), name
        shape = said[output].shape
        assert len(shape) == array.ndim, name
        assert all(axis in (-1, length) for axis, length in zip(shape, array.shape, strict=True)), name


@pytest.mark.parametrize("kind", FITS)
def test_shape_and_datatype_are_as_said(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model, (table, target) in FITS[kind]():
            model.fit(table, target)
            agrees(model, table, tmp_path)
            if hasattr(model, "predict_proba"):
                agrees(model, table, tmp_path, proba=True)


def test_rankers_say_so_and_answer(tmp_path):
    # CatBoost's did not answer at all: its class takes no prediction_type.
    table, target = IRIS
    agrees(xgboost.XGBRanker(n_estimators=2).fit(table, target, qid=GROUPS), table, tmp_path)
    ranker = lightgbm.LGBMRanker(n_estimators=2, verbose=-1).fit(table, target, group=[10] * 15)
    agrees(ranker, table, tmp_path)
    agrees(catboost.CatBoostRanker(**CAT).fit(table, target, group_id=GROUPS), table, tmp_path)


def test_which_values_are_missing_is_true_or_false(tmp_path):
    table = np.array([[1.0, np.nan], [2.0, 3.0], [np.nan, 1.0]])
    joblib.dump(MissingIndicator(features="all").fit(table), tmp_path / "model.joblib")
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    assert [spec.datatype for spec in loaded.signature.outputs] == ["BOOL"]
