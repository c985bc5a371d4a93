"""Exported programs and TorchScript, made here by the real PyTorch.

Marked `torch`: run them alone with `-m torch`, leave them out with `-m "not torch"`. Where PyTorch is not
installed they are skipped.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.runtimes.torch import TorchRuntime
from modelport.server.runtime import LoadedModel, LoadError, Settings
from modelport.server.save import save
from modelport.server.saved import read_saved
from modelport.server.signature import Signature, TensorSpec
from modelport.server.warmup import warm_up

torch: Any = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::FutureWarning")]
ROWS = torch.export.Dim("rows")


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)
        with torch.no_grad():
            self.linear.weight.fill_(1)
            self.linear.bias.fill_(0.5)

    def forward(self, x):
        return self.linear(x)


class Pair(torch.nn.Module):
    def forward(self, x, y):
        return x - y, x + y


class Keys(torch.nn.Module):
    def forward(self, x):
        return {"sum": x.sum(1), "more": (x, x * 2)}


class Point(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Named(torch.nn.Module):
    def forward(self, x):
        return Point(x, x + 1)


class Nested(torch.nn.Module):
    def forward(self, pair: dict[str, Any], scale: float = 1.0):
        return (pair["a"] - pair["b"]) * scale


class Half(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Optional(torch.nn.Module):
    def forward(self, x, mask: torch.Tensor | None = None, flag: bool = True):
        return x if mask is None else x * mask


class Needy(torch.nn.Module):
    def forward(self, x, times: int):
        return x * times


class Picky(torch.nn.Module):
    def forward(self, x):
        if bool(x.sum() > 100):
            raise ValueError("too much")
        return x


class Lookup(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 2)

    def forward(self, ids):
        return self.table(ids)


def exported(path: Path, module: Any, *args: Any, shapes: Any = None, **kwargs: Any) -> Path:
    program = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def scripted(path: Path, module: Any) -> Path:
    torch.jit.script(module.eval()).save(path)
    return path


def load(path: Path, signature: Signature | None = None, threads: int = 1) -> LoadedModel:
    return TorchRuntime.load(path, Settings(signature=signature, threads=threads, device="cpu"))


def load_error(path: Path) -> str:
    with pytest.raises(LoadError) as caught:
        load(path)
    return str(caught.value)


def ones(*shape: int, dtype: Any = np.float32) -> Any:
    return np.ones(shape, dtype)


@pytest.fixture
def pt2(tmp_path: Path) -> Path:
    return tmp_path / "model.pt2"


@pytest.fixture
def pt(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def test_an_exported_program_says_what_it_takes(pt2: Path):
    # Without its signature no request can be checked, and /v2/models/{m} is empty.
    model = load(exported(pt2, Linear(), torch.ones(2, 4), shapes=({0: ROWS},)))
    assert model.signature == Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(TensorSpec("output-0", "FP32", (-1, 2)),)
    )
    assert model.platform == "pytorch_export"
    assert model.batchable
    assert torch.__version__ in model.description
    for rows in (1, 2, 7):  # one row too, though exporters assume two
        assert model.predict({"x": ones(rows, 4)}, {})["output-0"].tolist() == [[4.5, 4.5]] * rows


@pytest.mark.parametrize(
    ("module", "names"),
    [
        pytest.param(Keys(), {"sum": (2,), "more.0": (2, 4), "more.1": (2, 4)}, id="dict"),
        pytest.param(Linear(), {"output-0": (2, 2)}, id="tensor"),
    ],
)
def test_outputs_have_the_names_of_the_result(pt2: Path, module: Any, names: dict[str, tuple[int, ...]]):
    # A client that asks for an output by name could not get it.
    model = load(exported(pt2, module, torch.ones(2, 4), shapes=({0: ROWS},)))
    assert [spec.name for spec in model.signature.outputs] == list(names)
    got = model.predict({"x": ones(2, 4)}, {})
    assert {name: array.shape for name, array in got.items()} == names


def test_a_tuple_gives_numbered_outputs(pt2: Path):
    # KServe's names for outputs without one.
    model = load(exported(pt2, Pair(), torch.ones(2, 3), torch.ones(2, 3), shapes=({0: ROWS}, {0: ROWS})))
    got = model.predict({"y": ones(2, 3), "x": 3 * ones(2, 3)}, {})
    assert {name: array[0, 0] for name, array in got.items()} == {"output-0": 2, "output-1": 4}
    assert model.batchable


def test_nested_inputs_and_settled_values_are_put_back(pt2: Path):
    # Transformers take a dict of tensors and flags: flat requests must reach them in their form.
    pair = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
    model = load(exported(pt2, Nested(), pair, scale=3.0))
    names = [spec.name for spec in model.signature.inputs]
    assert names == ["pair_a", "pair_b"]
    got = model.predict({"pair_b": ones(2, 3), "pair_a": 2 * ones(2, 3)}, {})
    assert got["output-0"].tolist() == [[3.0] * 3] * 2


def test_a_program_of_fixed_rows_is_not_batched_and_says_how_to_open_it(pt2: Path):
    # torch.export fixes the example's rows unless told otherwise: the most common surprise.
    model = load(exported(pt2, Linear(), torch.ones(3, 4)))
    assert model.signature.inputs[0].shape == (3, 4)
    assert not model.batchable
    assert "x has 3 rows; export with dynamic_shapes=" in model.description


def test_a_limit_on_rows_keeps_requests_apart(pt2: Path):
    # Joined, they would go over the limit that none of them exceeds.
    limited = torch.export.Dim("rows", max=64)
    model = load(exported(pt2, Linear(), torch.ones(2, 4), shapes=({0: limited},)))
    assert not model.batchable
    assert "at most 64 rows" in model.description


def test_bf16_goes_in_as_bits_and_comes_out_as_fp32(pt2: Path):
    # NumPy has no BF16: every model in the usual precision of language models would fail.
    model = load(exported(pt2, Half(), torch.ones(2, dtype=torch.bfloat16), shapes=({0: ROWS},)))
    assert [spec.datatype for spec in (*model.signature.inputs, *model.signature.outputs)] == ["BF16", "FP32"]
    got = model.predict({"x": np.array([0x3F80, 0xC000], np.uint16)}, {})["output-0"]
    assert got.dtype == np.float32
    assert got.tolist() == [2.0, -4.0]


def test_a_guard_that_fails_is_the_callers_fault(pt2: Path):
    # Two axes that must agree cannot be said in a signature; it is a 400 all the same.
    model = load(exported(pt2, Pair(), torch.ones(2, 3), torch.ones(2, 3), shapes=({0: ROWS}, {0: ROWS})))
    with pytest.raises(InvalidInput, match=r"x float32 \[2, 3\], y float32 \[4, 3\]: "):
        model.predict({"x": ones(2, 3), "y": ones(4, 3)}, {})


def test_a_saved_signature_wins_if_it_is_of_this_program(pt2: Path):
    # The author's names for clients, but never those of another model.
    exported(pt2, Linear(), torch.ones(2, 4), shapes=({0: ROWS},))
    saved = Signature(inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=())
    assert load(pt2, saved).signature.outputs == (TensorSpec("output-0", "FP32", (-1, 2)),)
    with pytest.raises(LoadError, match="other inputs"):
        load(pt2, Signature(inputs=(TensorSpec("age", "FP32"),)))


def test_the_form_is_told_by_the_content_not_by_the_ending(tmp_path: Path):
    # KServe users name all of them model.pt.
    exported(tmp_path / "a.pt2", Linear(), torch.ones(2, 4)).rename(tmp_path / "a.pt")
    scripted(tmp_path / "b.pt", Linear()).rename(tmp_path / "b.pth")
    assert load(tmp_path / "a.pt").platform == "pytorch_export"
    assert load(tmp_path / "b.pth").platform == "pytorch_torchscript"


def test_torchscript_takes_tensors_by_name_or_in_order(pt: Path):
    # Clients call the inputs input-0 and input-1; swapped, x - y would have the wrong sign.
    model = load(scripted(pt, Pair()))
    assert model.signature == Signature()
    assert "forward(x, y)" in model.description
    two, one = 2 * ones(1), ones(1)
    for inputs in (
        {"y": one, "x": two},
        {"input-0": two, "input-1": one},
        {"first": two, "y": one},
        {"y": one, "first": two},
    ):
        assert model.predict(inputs, {})["output-0"].tolist() == [1.0]


def test_a_named_tuple_gives_its_fields(pt: Path):
    # output-0 and output-1 would hide names that the author gave. (torch.export cannot save named tuples.)
    assert list(load(scripted(pt, Named())).predict({"x": ones(1)}, {})) == ["left", "right"]


def test_torchscript_names_what_is_missing_or_too_much(pt: Path):
    # TorchScript's own text is about C++ signatures.
    model = load(scripted(pt, Pair()))
    with pytest.raises(InvalidInput, match=r'inputs: missing "y". The model takes x, y.'):
        model.predict({"x": ones(1)}, {})
    with pytest.raises(InvalidInput, match=r"inputs: the model takes 2 \(x, y\), got 3."):
        model.predict({"a": ones(1), "b": ones(1), "c": ones(1)}, {})


def test_torchscript_leaves_out_what_is_optional(pt: Path):
    # A mask would have to be sent with every request.
    model = load(scripted(pt, Optional()))
    assert model.predict({"x": ones(2)}, {})["output-0"].tolist() == [1.0, 1.0]
    assert model.predict({"x": ones(2), "mask": 0 * ones(2)}, {})["output-0"].tolist() == [0.0, 0.0]


def test_floats_take_the_dtype_of_torchscripts_weights(pt: Path):
    # V1 JSON is FP64: every prediction would fail with "same dtype, but got Double and Float".
    model = load(scripted(pt, Linear()))
    assert model.predict({"input-0": ones(1, 4, dtype=np.float64)}, {})["output-0"].tolist() == [[4.5, 4.5]]


def test_whole_numbers_stay_as_they_are(pt: Path):
    # Token ids cast to floats could not be looked up.
    model = load(scripted(pt, Lookup()))
    assert model.predict({"ids": np.array([1, 2])}, {})["output-0"].shape == (2, 2)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        pytest.param(Linear(), {"x": ones(1, 3)}, id="shape"),
        pytest.param(Linear(), {"x": ones(1, 4, dtype=np.int64)}, id="dtype"),
        pytest.param(Lookup(), {"ids": np.array([7])}, id="index"),
        pytest.param(Half(), {"x": np.array(["a"], object)}, id="text"),
    ],
)
def test_what_torchscript_cannot_compute_is_the_callers_fault(pt: Path, module: Any, inputs: dict[str, Any]):
    # A client would see a 500 with a traceback of the exporting machine's files.
    model = load(scripted(pt, module))
    with pytest.raises(InvalidInput) as caught:
        model.predict(inputs, {})
    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)


def test_what_torchscript_raises_itself_is_the_models_fault(pt: Path):
    # A 400 would send the client looking for a mistake of its own.
    with pytest.raises(InferenceError, match="torch: too much"):
        load(scripted(pt, Picky())).predict({"x": 101 * ones(1)}, {})


def test_torchscript_is_batched_only_with_a_signature(pt: Path):
    # Without one nobody knows whether one request's rows change another's answer.
    scripted(pt, Linear())
    assert not load(pt).batchable
    saved = Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(TensorSpec("output-0", "FP32", (-1, 2)),)
    )
    model = load(pt, saved)
    assert model.batchable
    assert model.signature == saved


def test_a_scalar_that_a_request_cannot_carry_is_refused_at_load(pt: Path):
    # Found at the first request otherwise.
    assert 'forward() needs "times", a int' in load_error(scripted(pt, Needy()))


@pytest.mark.parametrize("make", [torch.jit.script, None], ids=["script", "program"])
def test_a_saved_model_is_served_as_it_was_saved(tmp_path: Path, make: Any):
    # torch's __version__ is no plain text, which JSON does not know: nothing of torch could be saved.
    example = torch.ones(3, 4)
    rows = torch.export.Dim("rows")
    model = (
        make(Linear().eval())
        if make
        else torch.export.export(Linear().eval(), (example,), dynamic_shapes=({0: rows},))
    )
    folder = save(model, tmp_path / "m", example=example)
    saved = read_saved(folder)
    assert saved.libraries["torch"] == str(torch.__version__)
    assert warm_up(load(folder / saved.artifact, saved.signature), saved) == (True, "warm-up ok")


def test_traced_modules_load_too(pt: Path):
    # torch.jit.trace is how most TorchScript was made.
    torch.jit.trace(Linear().eval(), torch.ones(1, 4)).save(pt)
    assert load(pt).predict({"x": ones(3, 4)}, {})["output-0"].shape == (3, 2)


def test_arrays_are_not_copied_on_the_way_in(pt: Path):
    # A batch of images is many megabytes.
    model = load(scripted(pt, Picky()))
    sent = ones(3)
    assert np.shares_memory(model.predict({"x": sent}, {})["output-0"], sent)


def test_a_read_only_array_is_copied(pt: Path):
    # A module that works in place would write into memory that is not its own.
    sent = ones(3)
    sent.flags.writeable = False
    got = load(scripted(pt, Picky())).predict({"x": sent}, {})["output-0"]
    assert not np.shares_memory(got, sent)


def test_a_reversed_array_is_read_in_its_order(pt: Path):
    # torch.from_numpy refuses negative strides.
    sent = np.arange(3, dtype=np.float32)[::-1]
    assert load(scripted(pt, Picky())).predict({"x": sent}, {})["output-0"].tolist() == [2, 1, 0]


def test_the_description_names_where_it_computes(pt: Path):
    # Who pays for a GPU wants to see it used.
    where = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "on CPU"
    assert where in TorchRuntime.load(scripted(pt, Linear()), Settings()).description


@pytest.mark.parametrize("form", [exported, scripted])
def test_a_device_can_be_chosen(tmp_path: Path, form: Any):
    # Beside a busy GPU a small model belongs on the CPU.
    arguments = (torch.ones(2, 4),) if form is exported else ()
    path = form(tmp_path / "model.pt2", Linear(), *arguments)
    model = TorchRuntime.load(path, Settings(device="cpu"))
    assert "on CPU" in model.description
    assert model.predict({"x": ones(2, 4)}, {})["output-0"].tolist() == [[4.5, 4.5], [4.5, 4.5]]


def test_a_gpu_that_is_not_there_is_refused_with_what_to_look_at(pt: Path):
    # Falling back in silence would be found by the bill.
    with pytest.raises(LoadError, match=r"--device cuda:99: torch .*sees (no GPU here|\d+ GPU)"):
        TorchRuntime.load(scripted(pt, Linear()), Settings(device="cuda:99"))


def test_threads_are_held_to_what_the_user_set(pt: Path):
    # Each worker would take all cores, and workers would starve each other.
    load(scripted(pt, Linear()), threads=2)
    assert torch.get_num_threads() == 2
    load(pt, threads=1)
    assert torch.get_num_threads() == 1


def test_weights_without_a_model_are_refused_with_the_recipe(pt: Path):
    # torch.save(model.state_dict()) is what tutorials teach; the user must learn what to run instead.
    torch.save(Linear().state_dict(), pt)
    message = load_error(pt)
    assert "holds weights only (a state_dict)" in message
    assert "torch.export.export(model.eval(), (example,)" in message
    assert "torch.export.save(program, 'model.pt2')" in message


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "executed")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("ending", ["pt", "pth", "pt2"])
def test_a_pickle_is_never_executed(tmp_path: Path, ending: str, legacy: bool):
    # A file from a hub would run its author's code with the server's rights.
    path, mark = tmp_path / f"model.{ending}", tmp_path / "mark"
    torch.save({"w": torch.ones(1), "trap": Trap(mark)}, path, _use_new_zipfile_serialization=not legacy)
    assert "pickle of" in load_error(path)
    assert not mark.exists()


def test_a_pickled_module_is_named(pt: Path):
    # The class tells the user which code to export from.
    torch.save(Linear(), pt)
    message = load_error(pt)
    assert re.search(r"is a pickle of \S*test_torch\.Linear, whose code is not in the file", message)


def test_the_recipe_works(tmp_path: Path):
    # Advice that fails is worse than none.
    (tmp_path / "user.py").write_text("import torch\nmodel = torch.nn.Linear(4, 2)\n")
    torch.save(torch.nn.Linear(4, 2).state_dict(), tmp_path / "model.pt")
    message = load_error(tmp_path / "model.pt")
    recipe = message.split("two rows: ", 1)[1].split(". Or: ")[0]
    script = f"import torch\nmodel = torch.nn.Linear(4, 2)\nexample = torch.ones(2, 4)\n{recipe}\n"
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, check=True)
    assert load(tmp_path / "model.pt2").batchable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "(0 bytes", id="empty"),
        pytest.param(b"<html>", "beginning with b'<html>'", id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="git lfs"),
    ],
)
def test_a_file_that_is_no_model_is_told_so(pt: Path, content: bytes, words: str):
    # "PytorchStreamReader failed finding central directory" leaves the user without a next step.
    pt.write_bytes(content)
    assert words in load_error(pt)


def test_a_truncated_file_is_told_so(pt: Path):
    # An upload that broke off is the usual cause.
    content = scripted(pt, Linear()).read_bytes()
    pt.write_bytes(content[: len(content) // 2])
    assert "no complete PyTorch file" in load_error(pt)


def test_a_damaged_program_names_the_version_of_torch(pt2: Path):
    # Programs of a newer torch fail in the middle; the version is the first question.
    import zipfile

    exported(pt2, Linear(), torch.ones(2, 4))
    with zipfile.ZipFile(pt2) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(pt2, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, b"{}" if "/models/" in name else part)
    message = load_error(pt2)
    assert f"torch {torch.__version__} cannot load it" in message
    assert "pip install --upgrade torch" in message


def test_a_policy_against_pickles_covers_torch(pt: Path):
    # torch.export.load and torch.jit.load may run code: a policy that forgets them is none.
    scripted(pt, Linear())
    with pytest.raises(LoadError, match=r"torch\.onnx\.export"):
        TorchRuntime.load(pt, Settings(allow_pickle=False))
