"""scikit-learn models answer as they would if called directly, in whatever form the table comes."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from asking import answer, ask, columns, settings
from sklearn import datasets
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDOneClassSVM
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    scale,
)
from sklearn.svm import LinearSVC

from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.runtimes.outputs import outputs_of
from modelport.runtimes.sklearn import SklearnRuntime
from modelport.runtimes.unpickle import scan_version
from modelport.server.runtime import LoadError

IRIS = datasets.load_iris(as_frame=True)
NAMES = list(IRIS.data.columns)
X, Y = IRIS.data.to_numpy(), IRIS.target.to_numpy()
CITIES = ["Bern", "Rom", "Wien"]


def people(rows=60, missing=False):
    """Passengers of a sort: numbers, text, and a column that nobody uses."""
    chance = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "id": [f"p{row}" for row in range(rows)],
            "age": chance.uniform(1, 80, rows).round(1),
            "city": chance.choice(CITIES, rows),
            "class": chance.integers(1, 4, rows),
        }
    )
    if missing:
        frame.loc[::5, "age"] = np.nan
        frame.loc[::7, "city"] = None
    return frame, np.where(frame["age"].fillna(30) + 10 * frame["class"] > 50, "stays", "leaves")


def table_model(encoder=None, **more):
    split = make_column_transformer(
        (StandardScaler(), ["age"]),
        (encoder or OneHotEncoder(), ["city"]),
        ("passthrough", ["class"]),
        **more,
    )
    return make_pipeline(split, LogisticRegression())


@pytest.fixture
def serve(tmp_path):
    def served(model, suffix=".joblib", **changes):
        path = tmp_path / f"model{suffix}"
        if suffix == ".skops":
            skops.io.dump(model, path)
        elif suffix == ".joblib":
            joblib.dump(model, path)
        else:
            path.write_bytes(pickle.dumps(model))
        return SklearnRuntime.load(path, settings(**changes))

    return served


# Answers


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pickle", ".skops"])
def test_every_file_form_answers_as_the_model_does(serve, suffix):
    """Lost otherwise: a model saved the other way does not load, or answers something else."""
    model = LogisticRegression(max_iter=500).fit(X, IRIS.target_names[Y])
    loaded = serve(model, suffix)
    assert loaded.platform == f"sklearn_{'pickle' if suffix == '.pkl' else suffix[1:]}"
    assert answer(loaded, X).tolist() == model.predict(X).tolist()
    assert loaded.signature.outputs[0].datatype == "BYTES"
    assert loaded.notes == ()


def test_a_model_without_names_says_one_matrix(serve):
    """Lost otherwise: the metadata of an image model lists 784 columns called 0, 1, 2."""
    loaded = serve(LogisticRegression(max_iter=500).fit(X, Y))
    (spec,) = loaded.signature.inputs
    assert (spec.name, spec.datatype, spec.shape) == ("input-0", "FP64", (-1, 4))
    assert loaded.description == "LogisticRegression, 4 columns, 3 classes"
    named = {f"some {index}": X[:, index] for index in range(4)}
    assert answer(loaded, named).tolist() == answer(loaded, X).tolist()


def test_named_columns_come_in_any_order_and_warn_of_nothing(serve):
    """Lost otherwise: shuffled columns give wrong labels, and the log fills with warnings."""
    model = RandomForestClassifier(20, random_state=0, n_jobs=-1).fit(IRIS.data, Y)
    expected = model.predict(IRIS.data)
    loaded = serve(model)
    assert loaded.signature.kind == "columns"
    assert [spec.name for spec in loaded.signature.inputs] == NAMES
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(answer(loaded, X), expected)
        assert np.array_equal(answer(loaded, columns(IRIS.data[NAMES[::-1]])), expected)
        assert np.array_equal(answer(loaded, {str(index): X[:, index] for index in range(4)}), expected)


def test_a_pipeline_of_text_and_numbers(serve):
    """Lost otherwise: the most common kind of model in business."""
    frame, labels = people()
    model = table_model().fit(frame, labels)
    loaded = serve(model)
    assert loaded.description == "Pipeline, 4 columns (age FP64, city BYTES, class FP64, …), 2 classes"
    by_name = {spec.name: spec for spec in loaded.signature.inputs}
    assert by_name["city"].categories == tuple(CITIES)
    assert by_name["id"].optional
    assert by_name["class"].datatype == "FP64"
    expected = model.predict(frame).tolist()
    sent = columns(frame)
    assert answer(loaded, sent).tolist() == expected
    assert answer(loaded, {name: sent[name] for name in ("class", "city", "age")}).tolist() == expected
    assert answer(loaded, {str(index): sent[name] for index, name in enumerate(frame)}).tolist() == expected
    assert answer(loaded, frame.astype(str).to_numpy(object)).tolist() == expected


def test_an_unknown_category_is_the_clients_fault(serve):
    """Lost otherwise: a typing error in one cell is a 500 of the model."""
    frame, labels = people()
    loaded = serve(table_model().fit(frame, labels))
    sent = columns(frame[:3])
    sent["city"][1] = "Oslo"
    with pytest.raises(
        InvalidInput, match=r'row 1, column "city": "Oslo" is not a category .* "Bern", "Rom", "Wien"'
    ):
        ask(loaded, sent)


def test_an_encoder_that_ignores_the_unknown_may_be_sent_the_unknown(serve):
    """Lost otherwise: the server is stricter than the model that it serves."""
    frame, labels = people()
    model = table_model(OneHotEncoder(handle_unknown="ignore")).fit(frame, labels)
    loaded = serve(model)
    frame["city"] = "Oslo"
    assert answer(loaded, columns(frame)).tolist() == model.predict(frame).tolist()


def imputing(*steps):
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]), (make_pipeline(*steps), ["city"])
    )


@pytest.mark.parametrize(
    "split",
    [
        imputing(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
        imputing(SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder()),
        imputing(OneHotEncoder()),
        imputing(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
        ),
    ],
    ids=["most frequent", "constant", "one hot", "ordinal"],
)
def test_missing_values_reach_models_that_know_them(serve, split):
    """Lost otherwise: JSON's null is refused although the model was trained with an imputer."""
    frame, labels = people(missing=True)
    model = make_pipeline(split, LogisticRegression()).fit(frame, labels)
    loaded = serve(model)
    assert loaded.accepts_missing
    assert answer(loaded, columns(frame)).tolist() == model.predict(frame).tolist()


def test_none_stays_none_where_the_model_learnt_it(serve):
    """Lost otherwise: a model trained on None meets NaN, a category that it does not know."""
    frame, labels = people()
    frame["city"] = frame["city"].astype(object)
    frame.loc[::7, "city"] = None
    model = table_model().fit(frame, labels)
    assert None in model[0].named_transformers_["onehotencoder"].categories_[0]
    assert answer(serve(model), columns(frame)).tolist() == model.predict(frame).tolist()


def test_missing_values_are_refused_with_their_place(serve):
    """Lost otherwise: a null is a 500, and nobody knows which cell it was."""
    frame, labels = people()
    loaded = serve(table_model().fit(frame, labels))
    assert not serve(LogisticRegression(max_iter=500).fit(X, Y)).accepts_missing
    sent = columns(frame[:3])
    sent["age"][2] = None
    with pytest.raises(
        InvalidInput, match='row 2, column "age": null, but the model takes no missing values'
    ):
        ask(
            serve(LinearRegression().fit(frame[["age", "class"]], frame["age"])),
            {k: sent[k] for k in ("age", "class")},
        )
    with pytest.raises(InvalidInput, match='row 2, column "age"'):
        ask(loaded, sent)


def test_nan_in_a_matrix_is_the_clients_fault(serve):
    """Lost otherwise: a NaN in a binary tensor counts as the model's failure."""
    loaded = serve(LogisticRegression(max_iter=500).fit(IRIS.data, Y))
    broken = X[:3].copy()
    broken[1, 2] = np.nan
    with pytest.raises(InvalidInput, match=r'row 1, column "petal length \(cm\)": NaN'):
        ask(loaded, broken)
    broken[1, 2] = np.inf
    with pytest.raises(InvalidInput, match=r'row 1, column "petal length \(cm\)": inf'):
        ask(loaded, broken)


def test_trees_take_missing_numbers(serve):
    """Lost otherwise: models that need no imputer are asked for one."""
    model = HistGradientBoostingClassifier(max_iter=5).fit(X, Y)
    sent = X.astype(object)
    sent[::3, 1] = None
    assert np.array_equal(answer(serve(model), sent), model.predict(sent.astype(float)))


@pytest.mark.skipif(
    sklearn.__version__ < "1.4", reason="scikit-learn 1.4 brought categorical_features='from_dtype'"
)
def test_gradient_boosting_with_categories_of_its_own(serve):
    """Lost otherwise: category columns without any encoder in sight."""
    frame, labels = people()
    frame = frame.drop(columns="id").astype({"city": "category"})
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(frame, labels)
    loaded = serve(model)
    assert [spec.datatype for spec in loaded.signature.inputs] == ["FP64", "BYTES", "FP64"]
    sent = frame.astype({"city": object})
    assert answer(loaded, columns(sent)).tolist() == model.predict(frame).tolist()


def test_texts(serve):
    """Lost otherwise: text classifiers, whose rows are no tables."""
    texts, labels = ["good film", "bad film", "very good", "so bad"], ["+", "-", "+", "-"]
    model = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(texts, labels)
    loaded = serve(model)
    assert loaded.signature.inputs[0].datatype == "BYTES"
    assert answer(loaded, texts).tolist() == model.predict(texts).tolist()
    union = make_pipeline(make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char")), MultinomialNB())
    assert answer(serve(union.fit(texts, labels)), {"text": texts}).tolist() == union.predict(texts).tolist()


def test_columns_chosen_by_type_or_place(serve):
    """Lost otherwise: pipelines that name no column."""
    frame, labels = people()
    frame = frame.drop(columns="id")
    by_type = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=np.number)),
        (OneHotEncoder(), make_column_selector(dtype_exclude=np.number)),
    )
    by_place = make_column_transformer((OneHotEncoder(), [1]), remainder="passthrough")
    for split, table in ((by_type, frame), (by_place, frame), (by_place, frame.to_numpy(object))):
        model = make_pipeline(split, LogisticRegression()).fit(table, labels)
        loaded = serve(model)
        assert [spec.datatype for spec in loaded.signature.inputs] == ["FP64", "BYTES", "FP64"]
        sent = {str(index): values for index, values in enumerate(columns(frame).values())}
        assert answer(loaded, sent).tolist() == model.predict(table).tolist()


def test_meta_estimators_know_the_columns_of_what_they_hold(serve):
    """Lost otherwise: a grid search or a vote around a pipeline hides its columns."""
    frame, labels = people()
    search = GridSearchCV(table_model(), {"logisticregression__C": [0.1, 1]}, cv=2).fit(frame, labels)
    vote = VotingClassifier([("a", table_model()), ("b", table_model())]).fit(frame, labels)
    for model in (search, vote):
        loaded = serve(model)
        assert [spec.datatype for spec in loaded.signature.inputs] == ["BYTES", "FP64", "BYTES", "FP64"]
        assert answer(loaded, columns(frame)).tolist() == model.predict(frame).tolist()


def test_outputs_that_know_their_names_keep_them(serve):
    """Lost otherwise: set_output("pandas") pipelines fail on a matrix."""
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).set_output(
        transform="pandas"
    )
    model.fit(IRIS.data, Y)
    assert np.array_equal(answer(serve(model), X), model.predict(IRIS.data))


def test_several_outputs(serve):
    """Lost otherwise: models that predict more than one thing."""
    both = np.c_[Y, Y > 0]
    model = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(X, both)
    loaded = serve(model)
    assert loaded.signature.outputs[0].shape == (-1, 2)
    assert np.array_equal(answer(loaded, X), model.predict(X))
    chances = ask(loaded, X, predict_proba=True)
    assert list(chances) == ["output-0", "output-1"]
    assert np.array_equal(chances["output-1"], model.predict_proba(X)[1])
    several = RandomForestRegressor(5, random_state=0).fit(X, both)
    assert serve(several).signature.outputs[0].shape == (-1, 2)


@pytest.mark.parametrize(
    ("model", "datatype"),
    [
        (KMeans(3, n_init=1, random_state=0), "INT32"),
        (IsolationForest(n_estimators=5, random_state=0), "INT64"),
        (SGDOneClassSVM(random_state=0), "INT32"),
        (RandomForestRegressor(5, random_state=0), "FP64"),
        (RandomForestClassifier(5, random_state=0), "INT64"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_the_declared_output_is_the_one_that_comes(serve, model, datatype):
    """Lost otherwise: typed clients, generated from the metadata, misread the answer."""
    loaded = serve(model.fit(X, Y))
    got = answer(loaded, X)
    assert loaded.signature.outputs[0].datatype == datatype
    assert np.array_equal(got, model.predict(X))
    assert got.dtype == {"INT32": "i4", "INT64": "i8", "FP64": "f8"}[datatype]


def test_float32_in_is_still_the_declared_output(serve):
    """Lost otherwise: the answer's datatype depends on the request's."""
    loaded = serve(LinearRegression().fit(X, Y))
    assert answer(loaded, X.astype("f4")).dtype == np.float64


def test_clusters_of_fp32_take_any_floats(serve):
    """Lost otherwise: embeddings are FP32, JSON's numbers are FP64, and scikit-learn's loop refuses two widths."""
    narrow = X.astype(np.float32)
    model = KMeans(3, n_init=1, random_state=0).fit(narrow)
    loaded = serve(model)
    for sent in (X, narrow, X.astype(int)):
        assert np.array_equal(answer(loaded, sent), model.predict(sent.astype(np.float32)))
    in_a_pipeline = make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)).fit(narrow)
    assert np.array_equal(answer(serve(in_a_pipeline), X), in_a_pipeline.predict(narrow))


def test_a_transformer_that_gives_a_frame_gives_its_columns(serve):
    """Lost otherwise: names that the user asked for with set_output, and KServe's outputs of a data frame."""
    model = StandardScaler().set_output(transform="pandas").fit(IRIS.data)
    loaded = serve(model)
    expected = model.transform(IRIS.data)
    got = ask(loaded, columns(IRIS.data))
    assert list(got) == NAMES
    assert all(np.array_equal(got[name], expected[name]) for name in NAMES)
    assert loaded.signature.outputs == ()


@pytest.mark.parametrize(
    ("make", "rows", "datatype"),
    [
        (CountVectorizer, ["good day", "bad day"], "INT64"),
        (lambda: OneHotEncoder(dtype=np.int32), [["a"], ["b"]], "INT32"),
        (TfidfVectorizer, ["good day", "bad day"], "FP64"),
    ],
)
def test_what_a_transformer_gives_is_declared(serve, make, rows, datatype):
    """Lost otherwise: clients make room for floats, and whole numbers come."""
    assert serve(make().fit(rows)).signature.outputs[0].datatype == datatype
    assert outputs_of(LabelEncoder().fit(["a"]), proba=False) == ()


def test_a_transformer_transforms(serve):
    """Lost otherwise: preprocessing served as a model of its own."""
    model = StandardScaler().fit(X)
    assert np.array_equal(answer(serve(model), X), model.transform(X))


# Probabilities


def test_probabilities_by_setting_and_by_request(serve):
    """Lost otherwise: clients that need a score get a label."""
    model = LogisticRegression(max_iter=500).fit(X, Y)
    chances = model.predict_proba(X)
    assert np.array_equal(answer(serve(model), X, predict_proba=True), chances)
    loaded = serve(model, predict_proba=True)
    assert loaded.signature.outputs[0].shape == (-1, 3)
    assert np.array_equal(answer(loaded, X), chances)
    assert np.array_equal(answer(loaded, X, predict_proba=False), model.predict(X))


def test_a_model_without_probabilities_says_which_part_lacks_them(serve):
    """Lost otherwise: an AttributeError about a pipeline's inside."""
    model = make_pipeline(StandardScaler(), LinearSVC()).fit(X, Y)
    with pytest.raises(InvalidInput, match="predict_proba: LinearSVC has no predict_proba"):
        ask(serve(model), X, predict_proba=True)
    loaded = serve(model, predict_proba=True)
    assert np.array_equal(answer(loaded, X), model.predict(X))
    assert "LinearSVC has no predict_proba: labels are served" in loaded.notes[0]


# What cannot be loaded, and why


def refusal(serve, model, suffix=".joblib", **changes):
    with pytest.raises(LoadError) as refused:
        serve(model, suffix, **changes)
    return str(refused.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"model": LogisticRegression(), "scaler": None}, "holds a dict with the keys model, scaler"),
        (DBSCAN().fit(X), "a DBSCAN, which has neither predict nor transform. It can only label the rows"),
        (np.ones(3), "holds a ndarray, which has neither predict nor transform"),
        (LogisticRegression(), "LogisticRegression was saved before it was fitted"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "Pipeline was saved before it was fitted"),
        (
            make_pipeline(DictVectorizer(), LogisticRegression()).fit([{"a": 1}, {"b": 2}], [0, 1]),
            "takes dicts",
        ),
    ],
    ids=["dict", "clusterer", "array", "unfitted", "unfitted pipeline", "of dicts"],
)
def test_what_cannot_predict_is_named(serve, model, words):
    """Lost otherwise: the mistake is found at the first request, as a 500."""
    assert words in refusal(serve, model)


def test_pickles_can_be_forbidden(serve):
    """Lost otherwise: a policy against running code from model files."""
    model = LogisticRegression(max_iter=500).fit(X, Y)
    assert "skops.io.dump" in refusal(serve, model, allow_pickle=False)
    assert np.array_equal(answer(serve(model, ".skops", allow_pickle=False), X), model.predict(X))


def test_forests_come_by_skops_where_pickles_may(serve):
    """Lost otherwise: skops trusts no trees, so that no forest could be served, with advice that did not help."""
    model = RandomForestClassifier(3, random_state=0).fit(X, Y)
    assert np.array_equal(answer(serve(model, ".skops"), X), model.predict(X))
    said = refusal(serve, model, ".skops", allow_pickle=False)
    assert "does not trust by itself: sklearn.tree._tree.Tree. To serve it, save the model as ONNX" in said


def test_a_skops_file_with_other_types_lists_them(serve):
    """Lost otherwise: skops files run code after all, or fail without saying what they hold."""
    model = make_pipeline(FunctionTransformer(people), LogisticRegression())
    assert "test_sklearn.people" in refusal(serve, model, ".skops")


def test_a_broken_file_says_so(tmp_path):
    """Lost otherwise: a download cut short is a riddle."""
    path = tmp_path / "model.joblib"
    joblib.dump(RandomForestClassifier(5).fit(X, Y), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(LoadError, match=r"model.joblib: cannot be unpickled .*complete"):
        SklearnRuntime.load(path, settings())
    path = tmp_path / "model.skops"
    path.write_bytes(b"no zip")
    with pytest.raises(LoadError, match="not a readable skops file"):
        SklearnRuntime.load(path, settings())


# Other versions, missing modules


def aged(model, version="1.2.9"):
    """The file as another version would have written it, as far as the version goes."""
    content = pickle.dumps(model)
    return content.replace(sklearn.__version__.encode(), version.encode())


def test_another_version_is_noted(tmp_path):
    """Lost otherwise: predictions may differ, and nobody is told."""
    path = tmp_path / "model.pkl"
    path.write_bytes(aged(LogisticRegression(max_iter=500).fit(X, Y)))
    loaded = SklearnRuntime.load(path, settings())
    assert loaded.notes == (f"saved by scikit-learn 1.2.9, running {sklearn.__version__}",)


def test_another_version_that_cannot_be_read_names_both_and_the_way_back(tmp_path):
    """Lost otherwise: `No module named sklearn.linear_model._logistik`, and a day of searching."""
    content = aged(LogisticRegression(max_iter=500).fit(X, Y))
    path = tmp_path / "model.pkl"
    path.write_bytes(content.replace(b"sklearn.linear_model._logistic", b"sklearn.linear_model._logistik"))
    with pytest.raises(LoadError) as refused:
        SklearnRuntime.load(path, settings())
    assert f"saved by scikit-learn 1.2.9, and {sklearn.__version__}, which is running" in str(refused.value)
    assert "pip install scikit-learn==1.2.9" in str(refused.value)


def test_a_failure_of_another_versions_model_names_the_version(tmp_path):
    """Lost otherwise: an attribute that the other version did not have looks like our failure."""
    model = LogisticRegression(max_iter=500).fit(X, Y)
    del model.coef_
    model.intercept_ = None
    path = tmp_path / "model.pkl"
    path.write_bytes(aged(model))
    loaded = SklearnRuntime.load(path, settings())
    with pytest.raises(InferenceError, match=r"pip install scikit-learn==1\.2\.9"):
        ask(loaded, X)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_version_is_found_in_every_pickle_protocol(protocol):
    """Lost otherwise: the one fact that mends an unreadable file."""
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(X, Y)
    assert scan_version(pickle.dumps(model, protocol)) == sklearn.__version__
    assert scan_version(b"nothing") is None


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
def test_a_module_that_is_missing_is_named_with_its_class(tmp_path, monkeypatch, compress):
    """Lost otherwise: the user does not learn which file of his own is to be put beside the model."""
    module = tmp_path / "our_features.py"
    module.write_text(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Doubler(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        return self\n"
        "    def transform(self, X):\n"
        "        return X * 2\n"
    )
    path = tmp_path / "model.joblib"
    with monkeypatch.context() as training:
        training.syspath_prepend(tmp_path)
        features = importlib.import_module("our_features")
        model = make_pipeline(features.Doubler(), LogisticRegression(max_iter=500)).fit(X, Y)
        joblib.dump(model, path, compress=compress)
        del sys.modules["our_features"]
    away = tmp_path / "away.txt"
    module.rename(away)
    with pytest.raises(LoadError) as refused:
        SklearnRuntime.load(path, settings())
    assert "needs the module our_features (for Doubler)" in str(refused.value)
    assert "put our_features.py beside the model" in str(refused.value)
    away.rename(module)
    importlib.invalidate_caches()
    try:
        loaded = SklearnRuntime.load(path, settings())
        assert answer(loaded, X).shape == (150,)
        assert str(tmp_path) not in sys.path
    finally:
        sys.modules.pop("our_features", None)


def test_missing_packages_come_with_their_own_name(tmp_path):
    """Lost otherwise: `No module named xgboost`, and which of four packages is it?"""
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04\x8c\x08catboos_\x94\x8c\x08CatBoost\x94\x93\x94.")
    with pytest.raises(LoadError, match=r"the module catboos_ \(for CatBoost\)"):
        SklearnRuntime.load(path, settings())
    path.write_bytes(b"\x80\x04\x8c\x07imblearn\x94\x8c\x08Pipeline\x94\x93\x94.".replace(b"\x07", b"\x08"))
    with pytest.raises(LoadError, match="pip install imbalanced-learn"):
        SklearnRuntime.load(path, settings())


def test_a_class_of_a_notebook_is_told_to_move(tmp_path):
    """Lost otherwise: `Can't get attribute 'Scaler' on <module '__main__'>` means nothing to most."""
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04\x8c\x08__main__\x94\x8c\x06Scaler\x94\x93\x94.")
    with pytest.raises(LoadError, match="needs Scaler, which was defined in the script or notebook"):
        SklearnRuntime.load(path, settings())


# Users' own classes


class Gaps:
    """A user's own transformer: takes a frame, and the signature cannot know what of."""

    def get_params(self, deep=True):
        return {}

    def fit(self, frame, y=None):
        self.feature_names_in_ = np.array(frame.columns, object)
        self.n_features_in_ = len(frame.columns)
        return self

    def transform(self, frame):
        return (
            frame[["age", "class"]].fillna(30).assign(long=frame["city"].str.len().fillna(0)).to_numpy(float)
        )


def test_a_users_own_transformer_gets_the_frame_that_it_expects(serve):
    """Lost otherwise: feature engineering in the pipeline, which is why people pickle pipelines."""
    frame, labels = people(missing=True)
    frame = frame.drop(columns="id")
    model = make_pipeline(Gaps(), LogisticRegression()).fit(frame, labels)
    loaded = serve(model)
    assert loaded.signature.inputs == ()
    assert loaded.accepts_missing
    sent = columns(frame)
    expected = model.predict(frame).tolist()
    assert answer(loaded, sent).tolist() == expected
    assert answer(loaded, dict(reversed(sent.items()))).tolist() == expected
    assert (
        answer(loaded, {str(index): values for index, values in enumerate(sent.values())}).tolist()
        == expected
    )


def test_functions_of_the_whole_batch_are_not_batched(serve):
    """Lost otherwise: the answer to one client depends on another client's rows."""
    assert not serve(make_pipeline(FunctionTransformer(scale), LogisticRegression()).fit(X, Y)).batchable
    assert serve(make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(X, Y)).batchable


def test_one_thread_a_prediction_is_kept_to(serve):
    """Lost otherwise: n_jobs=-1 from training starts a thread pool for every request."""
    loaded = serve(RandomForestClassifier(5, n_jobs=-1).fit(X, Y), threads=2)
    assert loaded._model.n_jobs == 2


def test_threads_hold_for_the_thread_that_predicts(serve):
    """Lost otherwise: OpenMP's limit is a thread's own, and the model's thread is another than the one that loads."""
    pools = pytest.importorskip("threadpoolctl")
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)

    def openmp(work):
        with ThreadPoolExecutor(1) as pool, pools.threadpool_limits(2, "openmp"):
            pool.submit(pools.threadpool_limits, 2, "openmp").result(60)
            pool.submit(work).result(60)
            found = pool.submit(pools.threadpool_info).result(60)
        return {one["num_threads"] for one in found if one["user_api"] == "openmp"}

    loaded = serve(model)
    assert openmp(lambda: None) == {2}
    assert openmp(lambda: answer(loaded, X)) == {1}
