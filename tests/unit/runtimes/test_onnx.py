"""ONNX graphs, made here by `onnx` and `skl2onnx`, run by the real ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from modelport.protocol.datatype import numpy_dtype
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.runtimes.onnx import OnnxRuntime
from modelport.server.runtime import LoadedModel, LoadError, Settings
from modelport.server.signature import Signature, TensorSpec

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
helper = onnx.helper
FLOAT, INT64, STRING = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.STRING

type_name = {
    FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.INT32: "INT32",
    INT64: "INT64",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.BOOL: "BOOL",
}


def graph(
    path: Path,
    nodes: Sequence[object],
    inputs: Sequence[tuple[str, int, object]],
    outputs: Sequence[tuple[str, int, object]],
    constants: Sequence[object] = (),
    opset: int = 18,
    ir_version: int = 9,
) -> Path:
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        list(constants),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], producer_name="tests")
    model.ir_version = ir_version
    onnx.save(model, path)
    return path


def identity(
    path: Path, kind: int = FLOAT, shape: object = ("N", 4), given: object = None, **more: int
) -> Path:
    node = helper.make_node("Identity", ["x"], ["y"])
    return graph(path, [node], [("x", kind, shape)], [("y", kind, given or shape)], **more)


def load(path: Path, signature: Signature | None = None) -> LoadedModel:
    return OnnxRuntime.load(path, Settings(signature=signature))


def load_error(path: Path, signature: Signature | None = None) -> str:
    with pytest.raises(LoadError) as caught:
        load(path, signature)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_the_signature_is_the_graphs(path: Path):
    # Without it no request can be checked, and /v2/models/{m} is empty.
    model = load(identity(path, shape=("N", None, 4)))
    assert model.signature == Signature(
        inputs=(TensorSpec("x", "FP32", (-1, -1, 4)),), outputs=(TensorSpec("y", "FP32", (-1, -1, 4)),)
    )
    assert model.platform == "onnxruntime_onnx"
    assert "by tests" in model.description
    assert "x FP32 [-1, -1, 4]" in model.description


@pytest.mark.parametrize("kind", type_name, ids=type_name.values())
def test_each_datatype_goes_through(path: Path, kind: int):
    # A model of another datatype than FP32 could not be served.
    model = load(identity(path, kind, ("N",)))
    assert model.signature.inputs[0].datatype == type_name[kind]
    sent = np.array([0, 1, 1], numpy_dtype(type_name[kind]))
    got = model.predict({"x": sent}, {})["y"]
    assert got.dtype == sent.dtype
    assert got.tolist() == sent.tolist()


def test_bf16_goes_in_as_bits_and_comes_out_as_fp32(path: Path):
    # NumPy has no BF16, and the runtime refuses its bits as UINT16.
    model = load(identity(path, onnx.TensorProto.BFLOAT16, ("N", 2)))
    assert [spec.datatype for spec in (*model.signature.inputs, *model.signature.outputs)] == ["BF16", "FP32"]
    got = model.predict({"x": np.array([[0x3F80, 0xC000]], np.uint16)}, {})["y"]
    assert got.dtype == np.float32
    assert got.tolist() == [[1.0, -2.0]]


def test_text_goes_in_as_bytes_or_str(path: Path):
    # ONNX Runtime takes the bytes b"Rome" for the text "b'Rome'": every category would be unknown.
    model = load(identity(path, STRING, ("N", 1)))
    sent = np.array([["Zürich".encode()], ["Rome"]], object)
    assert model.predict({"x": sent}, {})["y"].tolist() == [["Zürich"], ["Rome"]]


def test_bytes_that_are_no_text_are_the_callers_fault(path: Path):
    # An image sent to a text model is a 400, not a crash.
    model = load(identity(path, STRING, ("N",)))
    with pytest.raises(InvalidInput, match="not UTF-8"):
        model.predict({"x": np.array([b"\xff\xfe"], object)}, {})


def classifier(path: Path, labels: list[object], **options: object) -> Path:
    skl2onnx = pytest.importorskip("skl2onnx")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = np.array([[0, 0], [1, 0], [5, 5], [6, 5], [9, 0], [9, 1]], np.float32)
    model = linear_model.LogisticRegression().fit(x, labels)
    made = skl2onnx.to_onnx(model, x[:1], options=options or None, target_opset=18)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize("labels", [[0, 0, 7, 7, 3, 3], ["b", "b", "c", "c", "a", "a"]], ids=["int", "str"])
def test_zipmap_becomes_a_matrix(path: Path, labels: list[object]):
    # skl2onnx's default output is a list of dicts, which no protocol carries: every such model would fail.
    model = load(classifier(path, labels))
    label, probability = model.signature.outputs
    assert probability == TensorSpec("output_probability", "FP32", (-1, -1))
    rows = np.array([[0.5, 0], [9, 0.5]], np.float32)
    got = model.predict({model.signature.inputs[0].name: rows}, {})
    assert got["output_probability"].dtype == np.float32
    assert got["output_probability"].shape == (2, 3)
    # The columns are the classes in ascending order, as in scikit-learn's classes_.
    classes = sorted(set(labels))
    assert [classes[column] for column in got["output_probability"].argmax(1)] == got[label.name].tolist()


def test_zipmap_models_are_batched(path: Path):
    # The most common ONNX models would be served one request at a time.
    assert load(classifier(path, [0, 0, 1, 1, 2, 2])).batchable


def test_without_zipmap_the_matrix_passes_as_it_is(path: Path):
    # The advice of skl2onnx's own documentation must work too.
    model = load(classifier(path, [0, 0, 1, 1, 2, 2], zipmap=False))
    got = model.predict({"X": np.zeros((1, 2), np.float32)}, {})
    assert {name: array.shape for name, array in got.items()} == {"label": (1,), "probabilities": (1, 3)}


def test_a_sequence_of_equal_tensors_is_stacked(path: Path):
    # SequenceConstruct would make the model fail for a form that an array can carry.
    nodes = [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])]
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, ["N"])],
        [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, path)
    loaded = load(path)
    assert not loaded.batchable
    assert loaded.predict({"x": np.ones(3, np.float32)}, {})["y"].shape == (2, 3)


@pytest.mark.parametrize(
    ("shape", "given", "batchable"),
    [
        pytest.param(("N", 4), ("N", 4), True, id="open"),
        pytest.param((None, 4), ("N", 4), True, id="open without a name"),
        pytest.param(("unk__3", 4), ("N", 4), True, id="a made-up name"),
        pytest.param((1, 4), (1, 4), False, id="one row"),
        pytest.param(("N", 4), ("objects", 4), False, id="rows of its own"),
        pytest.param(("N", 4), (3, 4), False, id="fixed rows out"),
    ],
)
def test_only_models_with_open_rows_are_batched(path: Path, shape: object, given: object, batchable: bool):
    # Joined requests would fail, or worse, get rows of each other.
    model = load(identity(path, shape=shape, given=given))
    assert model.batchable is batchable
    assert batchable != ("requests are not joined" in model.description)


def test_a_scalar_is_not_batched(path: Path):
    # The threshold of one request would be applied to another.
    node = helper.make_node("Add", ["x", "bias"], ["y"])
    inputs = [("x", FLOAT, ("N",)), ("bias", FLOAT, ())]
    model = load(graph(path, [node], inputs, [("y", FLOAT, ("N",))]))
    assert not model.batchable
    feeds = {"x": np.ones(2, np.float32), "bias": np.array(2, np.float32)}
    assert model.predict(feeds, {})["y"].tolist() == [3, 3]


def test_external_data_beside_the_model_is_found(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    # Models over 2 GB keep their weights so. The working folder is another one on a server.
    weight = onnx.numpy_helper.from_array(np.full((4, 300), 2, np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph(path, [node], [("x", FLOAT, ("N", 4))], [("y", FLOAT, ("N", 300))], [weight])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size >= 4800
    monkeypatch.chdir("/")
    assert load(path).predict({"x": np.ones((1, 4), np.float32)}, {})["y"].sum() == 2400
    (tmp_path / "weights.bin").unlink()
    # Forgetting to upload it is the common mistake: say so.
    assert "keep them beside it" in load_error(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", ["no complete ONNX file (0 bytes", "download it again"], id="empty"),
        pytest.param(b"<html>404</html>", ["b'<html>40'"], id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", ["git lfs pull"], id="git lfs"),
    ],
)
def test_a_file_that_is_no_model_is_told_so(path: Path, content: bytes, words: list[str]):
    # "Protobuf parsing failed" leaves the user without a next step.
    path.write_bytes(content)
    message = load_error(path)
    assert message.startswith(f"{path}: ")
    assert all(word in message for word in words), message


def test_a_truncated_file_is_told_so(path: Path):
    # An upload that broke off is the usual cause.
    path.write_bytes(identity(path).read_bytes()[:40])
    assert "no complete ONNX file (40 bytes" in load_error(path)


@pytest.mark.parametrize(
    ("more", "number"), [({"opset": 99}, "opset 99"), ({"ir_version": 99}, "IR version 99")]
)
def test_a_model_newer_than_the_runtime_names_both_versions(path: Path, more: dict[str, int], number: str):
    # The cure is an upgrade or an older export; the runtime's text says neither.
    message = load_error(identity(path, **more))
    assert number in message
    assert f"onnxruntime {ort.__version__} knows " in message
    assert "pip install --upgrade onnxruntime" in message


def test_unknown_operators_are_named(path: Path):
    # Custom operators need another export; the user must learn which one.
    node = helper.make_node("Frobnicate", ["x"], ["y"])
    message = load_error(graph(path, [node], [("x", FLOAT, ("N",))], [("y", FLOAT, ("N",))]))
    assert "Frobnicate" in message
    assert "standard operators" in message


def test_a_locale_that_is_not_installed_is_named(path: Path):
    # skl2onnx writes en_US into every text vectorizer, and slim containers have no locales.
    node = helper.make_node(
        "StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="xx_XX.UTF-8"
    )
    message = load_error(graph(path, [node], [("x", STRING, ("N",))], [("y", STRING, ("N",))]))
    assert "the rules of the locale xx_XX.UTF-8, which this machine does not have" in message
    assert "lowercase=False" in message


def test_shapes_that_only_the_graph_can_judge_are_the_callers_fault(path: Path):
    # A client would see 500 for its own mistake, and an alert would wake somebody.
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    inputs = [("x", FLOAT, ("N", "K")), ("w", FLOAT, ("K", "M"))]
    model = load(graph(path, [node], inputs, [("y", FLOAT, ("N", "M"))]))
    feeds = {"x": np.ones((2, 3), np.float32), "w": np.ones((2, 3), np.float32)}
    with pytest.raises(InvalidInput) as caught:
        model.predict(feeds, {})
    message = str(caught.value)
    assert message.startswith("inputs: the model cannot compute with x [2, 3], w [2, 3]: MatMul: ")
    assert ".h:" not in message  # no source files of ONNX Runtime


def test_an_index_out_of_range_is_the_callers_fault(path: Path):
    # A token id beyond the vocabulary is the client's mistake.
    table = onnx.numpy_helper.from_array(np.zeros((10, 2), np.float32), "table")
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    model = load(graph(path, [node], [("ids", INT64, ("N",))], [("y", FLOAT, ("N", 2))], [table]))
    with pytest.raises(InvalidInput, match="Gather"):
        model.predict({"ids": np.array([3, 10])}, {})


def test_what_fails_inside_is_the_models_fault(path: Path):
    # A 400 would send the client looking for a mistake that it did not make.
    node = helper.make_node("Cast", ["x"], ["y"], to=FLOAT)
    model = load(graph(path, [node], [("x", STRING, ("N",))], [("y", FLOAT, ("N",))]))
    with pytest.raises(InferenceError, match="onnxruntime: Cast: "):
        model.predict({"x": np.array(["no number"], object)}, {})


def test_a_saved_signature_says_more_than_the_graph(path: Path):
    # The author knows that the open axis is always 4; clients should be told.
    saved = Signature(inputs=(TensorSpec("x", "FP32", (-1, 4)),))
    model = load(identity(path, shape=("N", "M")), saved)
    assert model.signature.inputs == saved.inputs
    assert model.signature.outputs == (TensorSpec("y", "FP32", (-1, -1)),)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (Signature(inputs=(TensorSpec("age", "FP32"),)), "other inputs (age FP32 [-1]) than the file"),
        (Signature(inputs=(TensorSpec("x", "FP64"),)), "other inputs (x FP64 [-1]) than the file"),
        (Signature(inputs=(TensorSpec("x", "FP32"),), kind="columns"), 'kind "columns"'),
    ],
    ids=["name", "datatype", "kind"],
)
def test_a_signature_of_another_model_is_refused(path: Path, saved: Signature, words: str):
    # It would only show in production, as failing requests.
    assert words in load_error(identity(path), saved)


def test_a_sparse_input_is_refused_at_load(path: Path):
    # Found at the first request otherwise.
    kind = helper.make_tensor_sequence_value_info("x", FLOAT, None)
    made = helper.make_graph(
        [helper.make_node("SequenceLength", ["x"], ["y"])],
        "graph",
        [kind],
        [helper.make_tensor_value_info("y", INT64, [])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, path)
    assert 'input "x" is a seq(tensor(float)), which a request cannot carry' in load_error(path)
