"""From a fitted model to a folder, back, and through the first prediction."""

import json
import subprocess
import sys
import threading

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from modelport.protocol.frame import to_frame
from modelport.server.arrays import ArrayExecutor
from modelport.server.example import curl
from modelport.server.model import Model
from modelport.server.payload import PayloadExecutor
from modelport.server.runtime import LoadedModel, LoadError, Settings
from modelport.server.save import save
from modelport.server.saved import Saved, example_bodies, read_saved
from modelport.server.signature import Signature, TensorSpec
from modelport.server.warmup import warm_up

pytest.importorskip("modelport.server.columns")
pytest.importorskip("modelport.server.tensors")

from modelport.runtimes.source import load
from modelport.server.loaded import RuntimeExecutor
from modelport.server.options import ModelOptions, Source

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(80, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
FRAME = pd.DataFrame(
    {
        "age": RANDOM.integers(18, 80, 80),
        "income": np.where(RANDOM.random(80) < 0.1, np.nan, RANDOM.normal(size=80)),
        "city": RANDOM.choice(["Oslo", "Köln"], 80),
    }
)
LABELS = np.where(FRAME["age"] > 50, "old", "young")


def pipeline():
    columns = ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", OneHotEncoder(), ["city"])])
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, LABELS)


class Loaded(LoadedModel):
    """A loaded file as a runtime would have it."""

    platform, description, accepts_missing = "test", "", True

    def __init__(self, predict, signature):
        self._predict, self.signature = predict, signature

    def predict(self, inputs, parameters):
        matrix = inputs[""] if "" in inputs else to_frame(inputs)
        return {"output-0": np.asarray(self._predict(matrix))}


def loaded(folder, saved):
    path = folder / saved.artifact
    if path.suffix == ".joblib":
        import joblib

        predict = joblib.load(path).predict
    elif path.suffix == ".skops":
        import skops.io

        predict = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path)).predict
    elif path.suffix == ".ubj":
        booster = xgboost.Booster(model_file=path)

        def predict(table):
            return booster.predict(xgboost.DMatrix(table))

    else:
        predict = lightgbm.Booster(model_file=path).predict
    return Loaded(predict, saved.signature)


CASES = {
    "sklearn matrix": (lambda: LogisticRegression().fit(X, Y), X[:4], ".joblib", {}),
    "sklearn frame": (pipeline, FRAME.head(), ".joblib", {}),
    "sklearn skops": (lambda: LogisticRegression().fit(X, Y), X[:4], ".skops", {"format": "skops"}),
    "xgboost": (lambda: xgboost.XGBClassifier(n_estimators=3).fit(X, Y), X[:4], ".ubj", {}),
    "xgboost booster": (
        lambda: xgboost.train({}, xgboost.DMatrix(FRAME[["age", "income"]], Y), 3),
        FRAME[["age", "income"]].head(30),
        ".ubj",
        {},
    ),
    "lightgbm": (
        lambda: lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y), X[:4], ".txt", {}
    ),
    "lightgbm frame": (
        lambda: lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(FRAME[["age", "income"]], Y),
        FRAME[["age", "income"]].head(30),
        ".txt",
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_saved_is_read_and_warms_up(case, tmp_path):
    make, example, suffix, options = case
    folder = save(make(), tmp_path / "m", example=example, **options)
    assert sorted(path.name for path in folder.iterdir()) == [f"model{suffix}", "modelport.json"]
    saved = read_saved(folder)
    assert saved.artifact == f"model{suffix}"
    assert saved.signature.kind == "columns"
    assert warm_up(loaded(folder, saved), saved) == (True, "warm-up ok")
    v1, v2 = example_bodies(saved)
    assert len(v1["instances"]) == len(example)
    json.dumps([v1, v2], allow_nan=False)


def first_letters(frame):
    return frame.map(lambda text: text[:1])


def test_a_column_that_nothing_uses_may_be_left_out(tmp_path):
    """Lost otherwise: clients of a table with a ticket number that the model drops must invent one."""
    runtime = pytest.importorskip("modelport.runtimes.sklearn").SklearnRuntime
    frame = FRAME.assign(ticket="A/5 21171")
    first = make_pipeline(FunctionTransformer(first_letters), OneHotEncoder())  # nobody knows what it takes
    chosen = ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", first, ["city"])])
    model = make_pipeline(chosen, LogisticRegression()).fit(frame, LABELS)
    folder = save(model, tmp_path / "m", example=frame.head())
    saved = read_saved(folder)
    loaded = runtime.load(folder / saved.artifact, Settings(signature=saved.signature))
    assert [spec.name for spec in loaded.signature.inputs if spec.optional] == ["income", "ticket"]
    assert [spec.datatype for spec in loaded.signature.inputs] == ["INT64", "FP64", "BYTES", "BYTES"]
    assert loaded.description == "Pipeline, 4 columns (age INT64, city BYTES, income unused, …), 2 classes"


BY_VALUE = """
import sys
import threading
import numpy as np
import modelport
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

X = np.arange(12.0).reshape(6, 2)
OFFSET = 3

def shifted(rows):
    return np.log(rows + OFFSET)

model = make_pipeline(FunctionTransformer({function}), LinearRegression()).fit(X, X[:, 0])
modelport.save(model, sys.argv[1], example=X[:2])
"""


@pytest.mark.parametrize("function", ["shifted", "lambda rows: np.log(rows + OFFSET)"])
def test_a_function_of_a_notebook_is_saved_with_its_code(tmp_path, function):
    """Lost otherwise: what was saved in a notebook without a word is refused when it is served."""
    runtime = pytest.importorskip("modelport.runtimes.sklearn").SklearnRuntime
    folder = tmp_path / "m"
    code = BY_VALUE.replace("{function}", function)
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=300)
    saved = read_saved(folder)
    assert "cloudpickle" in saved.libraries
    model = runtime.load(folder / saved.artifact, Settings(signature=saved.signature))
    assert warm_up(model, saved) == (True, "warm-up ok")


def test_code_of_another_python_is_refused(tmp_path):
    """Lost otherwise: an interpreter runs bytecode that it does not know, and may crash without a word."""
    save(LogisticRegression().fit(X, Y), folder := tmp_path / "m", example=X[:2])
    document = json.loads((folder / "modelport.json").read_text())
    document["libraries"] |= {"python": "3.7.9", "cloudpickle": "3.1.2"}
    (folder / "modelport.json").write_text(json.dumps(document))
    with pytest.raises(LoadError, match=r"code of Python 3\.7.*module of its own"):
        load(Source(name="m", path=str(folder)), ModelOptions())


@pytest.mark.parametrize("case", ["sklearn matrix", "sklearn frame", "sklearn skops"])
def test_the_runtime_serves_what_was_saved(case, tmp_path):
    runtime = pytest.importorskip("modelport.runtimes.sklearn").SklearnRuntime
    make, example, _, options = CASES[case]
    folder = save(make(), tmp_path / "m", example=example, **options)
    saved = read_saved(folder)
    model = runtime.load(folder / saved.artifact, Settings(signature=saved.signature))
    assert warm_up(model, saved) == (True, "warm-up ok")


def test_a_classifier_exported_to_onnx_warms_up(tmp_path):
    """Lost otherwise: what skl2onnx gives by default is saved, and refused when it is served."""
    skl2onnx = pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("modelport.runtimes.onnx").OnnxRuntime
    rows = X.astype(np.float32)
    exported = skl2onnx.to_onnx(LogisticRegression().fit(rows, Y), rows[:1], target_opset=18)
    folder = save(exported, tmp_path / "m", example=rows[:2])
    saved = read_saved(folder)
    model = runtime.load(folder / saved.artifact, Settings())
    assert warm_up(model, saved, model.signature) == (True, "warm-up ok")


def test_texts_are_asked_as_texts(tmp_path):
    """Lost otherwise: the line to paste asks in another way than the documentation of texts."""
    saved = read_saved(save(TEXTS.fit(DOCUMENTS, [1, 0, 1, 0]), tmp_path / "m", example=DOCUMENTS))
    assert example_bodies(saved)[0] == {"instances": DOCUMENTS}


DOCUMENTS = ["good day", "bad day", "so good", "awful"]
MIXED = np.array([[3, "Oslo"], [5, "Köln"], [3, "Köln"], [5, "Oslo"]], object)
UNUSUAL = {
    "texts": (lambda: TEXTS.fit(DOCUMENTS, [1, 0, 1, 0]), DOCUMENTS),
    "a column of texts": (lambda: TEXTS.fit(DOCUMENTS, [1, 0, 1, 0]), pd.Series(DOCUMENTS, name="text")),
    "one column": (lambda: StandardScaler().fit(FRAME[["age"]]), FRAME["age"].head()),
    "text beside numbers": (
        lambda: make_pipeline(OneHotEncoder(), LogisticRegression()).fit(MIXED, [1, 0, 0, 1]),
        MIXED[:2],
    ),
    "frames out": (
        lambda: StandardScaler().set_output(transform="pandas").fit(FRAME[["age"]]),
        FRAME[["age"]].head(),
    ),
    "clusters in FP32": (lambda: KMeans(3, n_init=1).fit(X.astype(np.float32)), X[:4].astype(np.float32)),
}
TEXTS = make_pipeline(TfidfVectorizer(), LogisticRegression())


@pytest.mark.parametrize("case", UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_example_is_served_as_it_was_saved(case, tmp_path):
    """Lost otherwise: a model that saves without complaint, and a server that refuses it."""
    from modelport.runtimes.sklearn import SklearnRuntime

    make, example = case
    folder = save(make(), tmp_path / "m", example=example)
    saved = read_saved(folder)
    model = SklearnRuntime.load(folder / saved.artifact, Settings(signature=saved.signature))
    assert warm_up(model, saved) == (True, "warm-up ok")


def test_the_command_to_try_is_one_that_works():
    """Lost otherwise: a model called org/name answers 404 to the very command that its server prints."""
    assert curl("http://host", "org/name", {}) == "curl http://host/v1/models/org%2Fname:predict -d '{}'"


def test_numbers_beside_text_stay_numbers(tmp_path):
    """Lost otherwise: the server wants "3" for 3, which the encoder does not know, and answers something else."""
    make, example = UNUSUAL["text beside numbers"]
    saved = read_saved(save(make(), tmp_path / "m", example=example))
    assert [(spec.name, spec.datatype) for spec in saved.signature.inputs] == [("0", "INT64"), ("1", "BYTES")]


def test_a_frame_for_a_model_of_texts_is_refused(tmp_path):
    """Lost otherwise: the vectorizer reads the columns' names as texts, and the server learns a wrong answer."""
    with pytest.raises(ValueError, match="answers 1 rows for 4"):
        save(TEXTS.fit(DOCUMENTS, [1, 0, 1, 0]), tmp_path / "m", example=pd.DataFrame({"text": DOCUMENTS}))


def test_a_version_that_is_more_than_text_is_written_as_text(tmp_path, monkeypatch):
    """torch's `__version__` is a class of its own: no program of torch could be saved."""
    monkeypatch.setattr(np, "__version__", type("Version", (str,), {})("2.0+cpu"))
    folder = save(LogisticRegression().fit(X, Y), tmp_path / "m", example=X[:2])
    assert json.loads((folder / "modelport.json").read_text())["libraries"]["numpy"] == "2.0+cpu"


def test_the_file_says_what_a_server_needs(tmp_path):
    document = json.loads(
        (save(pipeline(), tmp_path / "m", example=FRAME.head(2)) / "modelport.json").read_text()
    )
    assert (document["version"], document["artifact"], document["runtime"]) == (1, "model.joblib", "sklearn")
    assert document["signature"] == {
        "inputs": [
            {"name": "age", "datatype": "INT64", "shape": [-1]},
            {"name": "income", "datatype": "FP64", "shape": [-1]},
            {"name": "city", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "output-0", "datatype": "BYTES", "shape": [-1]}],
        "kind": "columns",
    }
    assert document["example"]["inputs"][2]["data"] == FRAME["city"].head(2).tolist()
    assert {"python", "scikit-learn", "joblib", "numpy", "pandas"} <= set(document["libraries"])
    assert document["created"].endswith("Z")


def test_categories_gaps_and_dates_are_told():
    from modelport.server.save import _columns  # the mapping itself

    frame = pd.DataFrame(
        {
            "size": pd.Categorical(["s", None], categories=["s", "m"]),
            "level": pd.Categorical([3, 1], categories=[1, 3]),
            "count": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, False], dtype="boolean"),
            "day": pd.to_datetime(["2020-01-02", None]),
            "narrow": np.array([1, 2], np.float32),
        }
    )
    specs, arrays = _columns(frame)
    assert [(spec.name, spec.datatype, spec.categories) for spec in specs] == [
        ("size", "BYTES", ("s", "m")),
        ("level", "INT64", (1, 3)),
        ("count", "FP64", None),
        ("flag", "BOOL", None),
        ("day", "BYTES", None),
        ("narrow", "FP32", None),
    ]
    assert np.isnan(arrays[2][1])


def test_saving_never_destroys_what_it_did_not_write(tmp_path):
    model = LogisticRegression().fit(X, Y)
    folder = save(model, tmp_path / "m")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(model, folder)
    save(model, folder, overwrite=True, format="skops")
    assert sorted(path.name for path in folder.iterdir()) == ["model.skops", "modelport.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    with pytest.raises(FileExistsError, match="holds no saved model"):
        save(model, tmp_path / "mine", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "mine"]


def test_a_failed_save_leaves_the_old_one(tmp_path):
    model = LogisticRegression().fit(X, Y)
    folder = save(model, tmp_path / "m", example=X[:2])
    before = (folder / "modelport.json").read_bytes()
    model.unpicklable = threading.Lock()
    with pytest.raises(Exception, match="pickle"):
        save(model, folder, example=X[:2], overwrite=True)
    assert (folder / "modelport.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((object(), {}), TypeError, "builtins.object is of no library that can be saved here"),
        ((LogisticRegression().fit(X, Y), {"example": FRAME.head(0)}), ValueError, "at least one row"),
        ((LogisticRegression().fit(X, Y), {"example": X[:0]}), ValueError, "at least one row"),
        (
            (xgboost.XGBClassifier(n_estimators=1).fit(X, Y), {"format": "skops"}),
            TypeError,
            "scikit-learn's own",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused(arguments, error, text, tmp_path):
    model, options = arguments
    with pytest.raises(error) as caught:
        save(model, tmp_path / "m", **options)
    assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("{", "is not JSON"),
        ({"version": 2}, "version: must be 1, got 2"),
        ({"artifact": "../x"}, "artifact: must be a path inside the folder, got '../x'"),
        ({"artifact": "/x"}, "artifact: must be a path inside the folder"),
        ({"signature": {"inputs": [{"name": "a"}]}}, "signature.inputs[0]: Object missing required field"),
        (
            {"signature": {"inputs": [{"name": "a", "datatype": "FP31"}]}},
            "signature.inputs[0].datatype: must be one of",
        ),
        (
            {"example": {"inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "data": [1]}]}},
            "example.inputs[0].data: does not fit",
        ),
        ({"libraries": 3}, "libraries: Expected `object`, got `int`"),
    ],
)
def test_errors_name_file_and_field(document, text, tmp_path):
    path = tmp_path / "modelport.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(LoadError) as caught:
        read_saved(tmp_path)
    assert str(path) in str(caught.value)
    assert text in str(caught.value)


def test_an_empty_folder_has_nothing_saved(tmp_path):
    assert read_saved(tmp_path) is None


# Warm-up


def saved_matrix(tmp_path):
    folder = save(LogisticRegression().fit(X, Y), tmp_path / "m", example=X[:4])
    return folder, read_saved(folder)


@pytest.mark.parametrize(
    ("predict", "text"),
    [
        (lambda rows: np.zeros(len(rows), int), "warm-up failed: outputs.output-0["),
        (lambda rows: rows, "warm-up failed: outputs.output-0: must have shape [4], got [4, 3]."),
        (
            lambda rows: np.array(["a"] * len(rows)),
            "warm-up failed: outputs.output-0: must be INT64, got BYTES.",
        ),
        (lambda rows: 1 / 0, "warm-up failed: division by zero"),
    ],
    ids=["values", "shape", "text", "error"],
)
def test_warm_up_says_what_differs(predict, text, tmp_path):
    _, saved = saved_matrix(tmp_path)
    ok, said = warm_up(Loaded(predict, saved.signature), saved)
    assert not ok
    assert said.startswith(text)


def test_warm_up_forgives_the_last_bits_of_floats_only(tmp_path):
    folder = save(xgboost.XGBRegressor(n_estimators=2).fit(X, Y), tmp_path / "m", example=X[:4])
    saved = read_saved(folder)
    right = np.array(saved.example.expected_outputs[0].data)
    assert warm_up(Loaded(lambda rows: right * (1 + 1e-8), saved.signature), saved).ok
    assert not warm_up(Loaded(lambda rows: right * (1 + 1e-4), saved.signature), saved).ok


def test_warm_up_without_an_example(tmp_path):
    model = Loaded(lambda rows: rows, Signature())
    assert warm_up(model, None) == (True, "warm-up skipped: no example")
    assert warm_up(model, Saved()) == (True, "warm-up skipped: no example")


def test_warm_up_does_not_compare_probabilities_with_labels(tmp_path):
    folder, saved = saved_matrix(tmp_path)
    import joblib

    model = Loaded(joblib.load(folder / "model.joblib").predict_proba, saved.signature)
    assert not warm_up(model, saved).ok
    assert warm_up(RuntimeExecutor(model, Settings(predict_proba=True)), saved).ok


def test_warm_up_of_models_of_ones_own(tmp_path):
    _, saved = saved_matrix(tmp_path)
    expected = np.array(saved.example.expected_outputs[0].data)

    class Arrays(Model):
        def predict(self, rows: np.ndarray):
            return expected

    class Payload(Model):
        def predict(self, payload, headers):
            return {}

    assert warm_up(ArrayExecutor(Arrays("m")), saved) == (True, "warm-up ok")
    assert warm_up(PayloadExecutor(Payload("m")), saved).text.startswith("warm-up skipped: the model takes")


# MLflow

MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl}
  sklearn: {pickled_model: model.pkl, sklearn_version: 1.5.0, serialization_format: cloudpickle}
saved_input_example_info: {artifact_path: input_example.json, pandas_orient: split, type: dataframe}
signature:
  inputs: '[{"type": "long", "name": "age", "required": true}, {"type": "string", "name": "city"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
"""


def test_mlflow_without_yaml_leaves_a_note(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "MLmodel").write_text(MLMODEL)
    saved = read_saved(tmp_path)
    assert saved.signature is None
    assert "pip install pyyaml" in saved.notes[0]


def test_mlflow_models_are_read(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "MLmodel").write_text(MLMODEL)
    (tmp_path / "input_example.json").write_text(
        '{"columns": ["age", "city"], "data": [[30, "Oslo"], [4, "Köln"]]}'
    )
    saved = read_saved(tmp_path)
    assert (saved.artifact, saved.runtime, saved.libraries) == ("model.pkl", "sklearn", {"sklearn": "1.5.0"})
    assert saved.signature == Signature(
        (TensorSpec("age", "INT64"), TensorSpec("city", "BYTES")),
        (TensorSpec("output-0", "INT64"),),
        "columns",
    )
    assert example_bodies(saved)[0] == {
        "instances": [{"age": 30, "city": "Oslo"}, {"age": 4, "city": "Köln"}]
    }


def test_example_bodies_of_tensors():
    from modelport.server.saved import Example, Tensor

    one = Tensor("x", "FP32", [2, 2], [1, 2, 3, 4])
    two = Tensor("t", "BYTES", [2], ["a", "b"])
    assert example_bodies(Saved(example=Example([one])))[0] == {"instances": [[1, 2], [3, 4]]}
    assert example_bodies(Saved(example=Example([one, two])))[0] == {
        "instances": [{"x": [1, 2], "t": "a"}, {"x": [3, 4], "t": "b"}]
    }
    short = Tensor("s", "INT64", [1], [5])
    v1, v2 = example_bodies(Saved(example=Example([two, short])))
    assert v1 == {"inputs": {"t": ["a", "b"], "s": [5]}}
    assert v2["inputs"][1] == {"name": "s", "datatype": "INT64", "shape": [1], "data": [5]}
    assert example_bodies(Saved()) is None
