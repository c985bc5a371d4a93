"""Finding the artifact: which runtime and which file, without importing a framework.

Only the first bytes of files matter here, so most are written by hand. Real ones are made by their frameworks in
the tests of each runtime.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from modelport.runtimes import catalog, source
from modelport.runtimes.catalog import RUNTIMES, Entry, locate, repository
from modelport.server.options import ModelOptions, Source
from modelport.server.runtime import LoadError

HEAD = {
    ".json": b'{"learner":{"attributes":{}}}',
    ".ubj": b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{",
    ".txt": b"tree\nversion=v4\nnum_class=1\n",
    ".pkl": b"\x80\x04K\x01.",
}


def model(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HEAD.get(path.suffix, b"any") if content is None else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(LoadError) as caught:
        locate(path)
    return str(caught.value)


@pytest.mark.parametrize("entry", RUNTIMES, ids=[entry.name for entry in RUNTIMES])
def test_the_table_says_what_the_classes_say(entry: Entry):
    # A file that a runtime can load would not be found.
    runtime = entry.load()
    assert (runtime.name, set(runtime.suffixes)) == (entry.name, set(entry.suffixes))


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("model.joblib", "sklearn"),
        ("model.PKL", "sklearn"),
        ("model.ubj", "xgboost"),
        ("model.json", "xgboost"),
        ("model.txt", "lightgbm"),
        ("model.cbm", "catboost"),
        ("model.onnx", "onnx"),
        ("model.pt2", "pytorch"),
        ("model.pth", "pytorch"),
    ],
)
def test_a_file_is_known_by_its_ending(tmp_path: Path, name: str, runtime: str):
    # The user would have to say what the ending says already.
    path = model(tmp_path / name, HEAD.get(Path(name).suffix.lower()))
    found, artifact = locate(path)
    assert (found.name, artifact) == (runtime, path)


@pytest.mark.parametrize(
    ("content", "runtime"),
    [
        pytest.param(HEAD[".json"], "xgboost", id="xgboost json"),
        pytest.param(HEAD[".ubj"], "xgboost", id="xgboost ubj"),
        pytest.param(b"binf\x00\x00\x00?\x00\x00", "xgboost", id="xgboost's old binary"),
        pytest.param(HEAD[".txt"], "lightgbm", id="lightgbm"),
    ],
)
@pytest.mark.parametrize("ending", [".bst", ".model"])
def test_an_ending_that_two_share_is_judged_by_content(
    tmp_path: Path, ending: str, content: bytes, runtime: str
):
    # KServe's xgboost and lightgbm servers both take model.bst.
    assert locate(model(tmp_path / f"model{ending}", content))[0].name == runtime


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "model.bst"])
def test_a_file_of_another_kind_is_refused_with_its_first_bytes(tmp_path: Path, name: str):
    # Loaded as a model, it would fail with a parser's error.
    message = refusal(model(tmp_path / name, b"hello\n"))
    assert f"ends in {Path(name).suffix}, but is no model of " in message
    assert "b'hello" in message


@pytest.mark.parametrize("ending", [".ubj", ".json", ".joblib", ".cbm", ".pt2"])
def test_an_empty_file_is_called_empty(tmp_path: Path, ending: str):
    # Each framework has words of its own for it, from `EOFError` to `begins with b''`.
    path = model(tmp_path / f"model{ending}", b"")
    assert refusal(path) == f"{path}: the file is empty. Save or download it again."


@pytest.mark.parametrize("name", ["model.h5", "model"])
def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path, name: str):
    # The user would not know whether the format or the file is wrong.
    message = refusal(model(tmp_path / name))
    assert "no runtime knows " in message
    assert ".onnx (onnx)" in message


def test_a_missing_path_says_so(tmp_path: Path):
    # A typing error must not look like a broken model.
    assert refusal(tmp_path / "nope") == f"{tmp_path}/nope: no such file or folder."


def test_a_folder_gives_its_one_model(tmp_path: Path):
    # KServe mounts the folder /mnt/models: README, configuration and weights beside the model are usual.
    path = model(tmp_path / "model.onnx")
    for name in ("requirements.txt", "config.json", "README.md", "model.onnx.data", ".hidden.onnx"):
        model(tmp_path / name, b"{}")
    model(tmp_path / "checkpoints" / "old.onnx")
    assert locate(tmp_path)[1] == path


def test_two_models_in_a_folder_are_refused_in_kserves_words(tmp_path: Path):
    # Any choice could be the wrong model in production.
    for name in ("b.pkl", "a.joblib"):
        model(tmp_path / name)
    words = "More than one model file is detected, Only one is allowed within model_dir: a.joblib, b.pkl"
    assert (
        refusal(tmp_path)
        == f"{tmp_path}: {words}. Name one of them, or serve them all: --model NAME=PATH --model NAME=PATH"
    )


def test_a_python_file_wants_its_class(tmp_path: Path):
    # A list of endings tells nobody that a class is served as file.py:Class.
    path = model(tmp_path / "mine.py")
    assert refusal(path).endswith("name the class in it that derives from modelport.Model: mine.py:MyModel")


def test_a_folder_without_a_model_lists_what_is_there(tmp_path: Path):
    # Mounted one level too high or too low is the usual mistake; the list shows it.
    assert refusal(tmp_path) == f"{tmp_path}: the folder is empty."
    model(tmp_path / "saved_model.pb")
    model(tmp_path / "variables" / "variables.index")
    message = refusal(tmp_path)
    assert "no model file. Found: saved_model.pb, variables/. Known endings: .joblib " in message


def test_a_folder_of_models_says_to_name_one(tmp_path: Path):
    # "No model file" would be puzzling where there are two.
    model(tmp_path / "iris" / "model.joblib")
    model(tmp_path / "mnist" / "1" / "model.onnx")
    assert "folders that do: iris, mnist. Serve it as a repository, or name one of them." in refusal(tmp_path)


def test_a_link_is_followed(tmp_path: Path):
    # Kubernetes mounts volumes as links into a hidden folder.
    real = model(tmp_path / "..data" / "model.onnx")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "model.onnx").symlink_to(real)
    assert locate(tmp_path / "mounted")[1] == tmp_path / "mounted" / "model.onnx"


def mlmodel(path: Path, flavors: str) -> None:
    model(path / "MLmodel", f"artifact_path: model\nflavors:\n{flavors}mlflow_version: 3.1.0\n".encode())


def test_an_mlflow_folder_without_yaml_says_what_to_install(tmp_path: Path):
    # Without the hint the folder would seem to hold no model.
    if importlib.util.find_spec("yaml"):
        pytest.skip("PyYAML is installed")
    mlmodel(tmp_path, "  sklearn:\n    pickled_model: model.pkl\n")
    assert "pip install pyyaml" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("flavors", "artifact", "runtime"),
    [
        ("  sklearn:\n    pickled_model: model.pkl\n", "model.pkl", "sklearn"),
        ("  xgboost:\n    data: model.xgb\n    model_format: xgb\n", "model.xgb", "xgboost"),
        ("  lightgbm:\n    data: model.lgb\n", "model.lgb", "lightgbm"),
        ("  lightgbm:\n    data: model.pkl\n", "model.pkl", "sklearn"),
        ("  catboost:\n    data: model.cb\n    save_format: cbm\n", "model.cb", "catboost"),
        ("  onnx:\n    data: model.onnx\n", "model.onnx", "onnx"),
        ("  pytorch:\n    model_data: data\n", "data/model.pth", "pytorch"),
    ],
)
def test_an_mlflow_folder_points_at_its_artifact(tmp_path: Path, flavors: str, artifact: str, runtime: str):
    # Its file names follow no ending that we know: only MLmodel says what they are.
    pytest.importorskip("yaml")
    mlmodel(tmp_path, flavors + "  python_function:\n    loader_module: mlflow\n")
    model(tmp_path / artifact)
    model(tmp_path / "requirements.txt", b"mlflow\n")
    model(tmp_path / "input_example.json", b"{}")
    found, path = locate(tmp_path)
    assert (found.name, path) == (runtime, tmp_path / artifact)


@pytest.mark.parametrize(
    ("flavors", "words"),
    [
        pytest.param(
            "  python_function:\n    loader_module: mlflow.spacy\n",
            "flavors python_function, of which none can be served",
            id="flavor",
        ),
        pytest.param("  onnx:\n    data: model.onnx\n", "names model.onnx, which is not there", id="lost"),
        pytest.param(
            "  onnx:\n    data: ../../x.onnx\n", "points out of the folder: ../../x.onnx", id="outside"
        ),
        pytest.param("  onnx:\n    opset: 3\n", "flavors.onnx.data is missing", id="no key"),
    ],
)
def test_an_mlflow_folder_that_cannot_be_served_says_why(tmp_path: Path, flavors: str, words: str):
    # The folder looks complete: only MLmodel's contents explain it.
    pytest.importorskip("yaml")
    mlmodel(tmp_path, flavors)
    assert words in refusal(tmp_path)


@pytest.mark.parametrize("content", ["[1, 2", "- a\n", "flavors: 3\n"])
def test_a_broken_mlmodel_is_named(tmp_path: Path, content: str):
    # A crash while parsing would hide which file is broken.
    pytest.importorskip("yaml")
    model(tmp_path / "MLmodel", content.encode())
    assert refusal(tmp_path).startswith(f"{tmp_path}/MLmodel: ")


def test_a_repository_has_models_and_versions(tmp_path: Path):
    # Triton users move their folder over as it is.
    model(tmp_path / "mnist" / "1" / "model.onnx")
    model(tmp_path / "mnist" / "10" / "model.onnx")
    model(tmp_path / "mnist" / "2" / "model.onnx")
    model(tmp_path / "mnist" / "config.pbtxt")
    model(tmp_path / "iris" / "model.joblib")
    model(tmp_path / "notes" / "readme.md")
    (tmp_path / ".git").mkdir()
    found = repository(tmp_path)
    mnist = tmp_path / "mnist"
    assert found == {
        "iris": {None: tmp_path / "iris"},
        "mnist": {"1": mnist / "1", "2": mnist / "2", "10": mnist / "10"},
    }
    assert list(found["mnist"]) == ["1", "2", "10"]  # as numbers, not as text
    assert locate(found["mnist"]["10"])[1] == mnist / "10" / "model.onnx"


def test_a_folder_of_versions_is_one_model(tmp_path: Path):
    # TensorFlow Serving's base path: models called "1" and "2" would surprise everybody.
    model(tmp_path / "half_plus_two" / "1" / "model.onnx")
    model(tmp_path / "half_plus_two" / "2" / "model.onnx")
    path = tmp_path / "half_plus_two"
    assert repository(path) == {"half_plus_two": {"1": path / "1", "2": path / "2"}}


def test_a_version_that_is_no_model_is_reported_when_it_is_loaded(tmp_path: Path):
    # Left out, a Triton Python model would be missing without a word.
    model(tmp_path / "good" / "1" / "model.onnx")
    model(tmp_path / "script" / "1" / "model.py")
    found = repository(tmp_path)
    assert found is not None
    assert "model.py" in refusal(found["script"]["1"])


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([], id="empty"),
        pytest.param(["model.onnx"], id="a model"),
        pytest.param(["model.onnx", "1/model.onnx"], id="a model with a checkpoint"),
        pytest.param(["variables/index", "assets/x.vocab"], id="nothing known"),
    ],
)
def test_other_folders_are_no_repository(tmp_path: Path, files: list[str]):
    # A single model must be served under its own name, not as a folder of others.
    for name in files:
        model(tmp_path / name)
    assert repository(tmp_path) is None


def test_a_file_or_nothing_is_no_repository(tmp_path: Path):
    # The answer is asked for whatever the user names.
    assert repository(model(tmp_path / "model.onnx")) is None
    assert repository(tmp_path / "nope") is None


PACKAGE = """
from modelport.server.runtime import Runtime

class GgufRuntime(Runtime):
    name = "llama"
    extra = ""
    modules = ()
    suffixes = ({suffixes},)

    @classmethod
    def load(cls, path, settings):
        raise NotImplementedError
"""


def install(folder: Path, name: str, code: str, target: str) -> None:
    """A package with an entry point, as pip would leave it."""
    model(folder / f"{name}.py", code.encode())
    info = folder / f"{name}-1.0.dist-info"
    model(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode())
    model(info / "entry_points.txt", f"[modelport.runtimes]\nx = {name}:{target}\n".encode())


def test_another_package_adds_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # A new format would need a change in this package.
    install(tmp_path / "site", "catalog_gguf", PACKAGE.format(suffixes='".gguf"'), "GgufRuntime")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert locate(model(tmp_path / "m" / "model.gguf"))[0].name == "llama"
    assert ".gguf (llama)" in refusal(model(tmp_path / "n" / "model.h5"))


def test_another_package_goes_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Who installs another ONNX engine means to use it.
    install(tmp_path / "site", "catalog_onnx", PACKAGE.format(suffixes='".onnx"'), "GgufRuntime")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert locate(model(tmp_path / "m" / "model.onnx"))[0].name == "llama"


@pytest.mark.parametrize(
    ("code", "target"), [("raise OSError('no libfoo.so')", "X"), ("X = 3", "X")], ids=["fails", "no runtime"]
)
def test_a_broken_package_does_not_keep_models_from_loading(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
    target: str,
):
    # One bad plug-in would stop every server of the company.
    name = f"catalog_broken_{len(code)}"
    install(tmp_path / "site", name, code, target)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert locate(model(tmp_path / "m" / "model.onnx"))[0].name == "onnx"
    assert f"{name}:{target}: left out" in caplog.text


def test_looking_imports_no_framework(tmp_path: Path):
    # `modelport serve` would take seconds to say that a path is wrong.
    for name in ("a/model.onnx", "b/model.pt", "c/model.json", "d/model.txt", "e/model.cbm", "f/model.pkl"):
        model(tmp_path / name)
    heavy = "{'torch', 'onnxruntime', 'sklearn', 'xgboost', 'lightgbm', 'catboost', 'pandas', 'scipy'}"
    script = (
        "import sys; from pathlib import Path; from modelport.runtimes.catalog import locate, repository\n"
        f"for one in repository(Path({str(tmp_path)!r})).values(): locate(one[None])\n"
        f"print({heavy} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_looking_again_does_not_read_all_packages_again(monkeypatch, tmp_path):
    # A server looks into its repository every two seconds; a file a package was a percent of a core for nothing.
    asked = []
    monkeypatch.setattr(catalog, "entry_points", lambda group: asked.append(group) or ())
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for name in ("a", "b", "c"):
        model(tmp_path / name / "model.joblib", b"x")
    for _ in range(3):
        repository(tmp_path)
    assert len(asked) == 1


def other_format(path: Path, wanted: str) -> str:
    with pytest.raises(LoadError) as caught:
        locate(path, wanted)
    return str(caught.value)


@pytest.mark.parametrize("wanted", ["onnx", "xgboost", "lightgbm", "catboost", "pytorch"])
def test_a_model_of_another_format_than_was_named_is_refused(tmp_path: Path, wanted: str):
    # It was served without a word, with other columns and outputs than whoever named the format expects.
    file = model(tmp_path / "model.joblib")
    start = (
        f"model format {wanted}: the folder holds model.joblib (sklearn): {tmp_path}. Name the format that"
    )
    assert other_format(tmp_path, wanted).startswith(start)
    assert other_format(file, wanted).startswith(
        f"model format {wanted}: the file is model.joblib (sklearn): "
    )
    assert other_format(tmp_path, "mlflow").startswith("model format mlflow: the folder holds model.joblib")


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("model.joblib", "sklearn"),
        ("model.ubj", "xgboost"),
        ("model.txt", "lightgbm"),
        ("model.onnx", "onnx"),
    ],
)
def test_a_model_of_the_format_that_was_named_is_served(tmp_path: Path, name: str, runtime: str):
    file = model(tmp_path / name)
    found, where = locate(tmp_path, runtime)
    assert (found.name, where) == (runtime, file)
    assert locate(file, runtime)[0] is found


def test_the_format_chooses_among_files_of_several(tmp_path: Path):
    # KServe's servers look at their own endings only: such folders are served there.
    model(tmp_path / "model.joblib")
    graph = model(tmp_path / "model.onnx")
    assert locate(tmp_path, "onnx")[1] == graph
    assert "xgboost: the folder holds model.joblib (sklearn), model.onnx (onnx)" in other_format(
        tmp_path, "xgboost"
    )


def test_a_format_that_nobody_knows_lists_those_that_are(tmp_path: Path):
    model(tmp_path / "model.joblib")
    assert "model format tensorflow: there is no runtime for it here. Name one of sklearn, xgboost" in (
        other_format(tmp_path, "tensorflow")
    )


@pytest.mark.parametrize("compress", [0, 3])
def test_a_pickled_wrapper_has_the_format_of_its_framework(tmp_path: Path, compress: int):
    # KServe's users save XGBClassifier by joblib, and call that xgboost.
    joblib, xgboost = pytest.importorskip("joblib"), pytest.importorskip("xgboost")
    fitted = xgboost.XGBClassifier(n_estimators=2).fit([[0.0], [1.0]], [0, 1])
    joblib.dump(fitted, tmp_path / "model.joblib", compress=compress)
    assert locate(tmp_path, "xgboost")[0].name == "sklearn"
    assert "holds model.joblib" in other_format(tmp_path, "lightgbm")


def test_an_mlflow_folder_has_the_formats_of_its_flavors(tmp_path: Path):
    pytest.importorskip("yaml")
    model(tmp_path / "model.pkl")
    (tmp_path / "MLmodel").write_text("flavors:\n  sklearn:\n    pickled_model: model.pkl\n")
    assert locate(tmp_path, "mlflow")[0].name == locate(tmp_path, "sklearn")[0].name == "sklearn"
    assert "model format onnx: the folder holds an MLmodel with the flavors sklearn" in other_format(
        tmp_path, "onnx"
    )


@pytest.mark.parametrize("wanted", ["mlflow", "sklearn", None])
def test_a_model_in_an_mlflow_folder_is_served_by_its_format(tmp_path: Path, wanted: str | None):
    # What KServe's documentation has for MLflow: its MLmodel also says which file it is, a file of another format.
    joblib, linear = pytest.importorskip("joblib"), pytest.importorskip("sklearn.linear_model")
    joblib.dump(linear.LinearRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.pkl")
    mlmodel(tmp_path, "  sklearn:\n    pickled_model: model.pkl\n")
    served = source.load(Source(name="m", path=str(tmp_path)), ModelOptions(model_format=wanted))
    assert served.metadata.name == "m"


def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Tests run as root, whom no mode stops: the system's answer is given here."""
    (tmp_path / "model.joblib").write_bytes(b"\x80\x04.")
    monkeypatch.setattr(catalog.os, "access", lambda path, mode: False)
    with pytest.raises(catalog.UnreadableError, match=r"model\.joblib: may not be read by this user"):
        catalog.locate(tmp_path)

    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(catalog.UnreadableError, match="may not be read by this user"):
        catalog.locate(tmp_path)
