"""The two forms of a model, and models that take arrays."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pandas as pd
import pytest
from fakes import Reply, ask, tensor, v1, v2
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.server.binding import cast_to
from modelport.server.form import Form, form_of
from modelport.server.loop import LOOP, settle
from modelport.server.model import Model
from modelport.server.register import register


def model_of(predict, **more):
    """A model with this `predict`, and other attributes of the class."""
    return type("Made", (Model,), {"predict": predict, **more})("m")


def plain(self, payload, headers=None): ...
def kserve(self, payload: dict | str, headers: dict[str, str] | None = None) -> dict: ...
def one(self, x: np.ndarray): ...
def hinted(self, x: NDArray[np.float32], y: "np.ndarray | None" = None) -> NDArray[np.int64]: ...
def frame(self, rows: pd.DataFrame): ...
def extras(self, x: np.ndarray, parameters: dict, headers, response_headers): ...
def half(self, x: np.ndarray, threshold: float): ...
def starred(self, x: np.ndarray, **more): ...
def unresolvable(self, x: "Nowhere"): ...  # noqa: F821
def resolvable(self, x: "np.ndarray", y: "Nowhere" = None): ...  # noqa: F821
def streaming(self, x: np.ndarray) -> Iterator[str]: ...


def array_hook(self, x: np.ndarray) -> np.ndarray: ...
def dict_hook(self, result: dict[str, np.ndarray]): ...


@pytest.mark.parametrize(
    ("predict", "hooks", "form"),
    [
        (plain, {}, Form.PAYLOAD),
        (kserve, {}, Form.PAYLOAD),
        (one, {}, Form.ARRAYS),
        (hinted, {}, Form.ARRAYS),
        (frame, {}, Form.ARRAYS),
        (extras, {}, Form.ARRAYS),
        (half, {}, Form.PAYLOAD),
        (starred, {}, Form.PAYLOAD),
        (unresolvable, {}, Form.PAYLOAD),
        (resolvable, {}, Form.PAYLOAD),
        (streaming, {}, Form.ARRAYS),
        (one, {"preprocess": plain}, Form.PAYLOAD),
        (one, {"postprocess": plain}, Form.PAYLOAD),
        (one, {"preprocess": array_hook, "postprocess": array_hook}, Form.ARRAYS),
        (one, {"postprocess": dict_hook}, Form.ARRAYS),
        (one, {"preprocess": array_hook, "postprocess": plain}, Form.PAYLOAD),
        (one, {"explain": plain}, Form.ARRAYS),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:40],
)
def test_annotations_decide_the_form(predict, hooks, form):
    assert form_of(model_of(predict, **hooks)) is form


def test_a_model_without_predict_has_the_payload_form():
    assert form_of(Model("m")) is Form.PAYLOAD


def test_promises_that_we_do_not_keep_are_refused():
    class InferRequest: ...

    def listed(self, requests: list[InferRequest]): ...
    def mixed(self, rows: pd.DataFrame, x: np.ndarray): ...

    with pytest.raises(TypeError, match="list of requests, which is not supported"):
        form_of(model_of(listed))
    with pytest.raises(TypeError, match="a DataFrame takes all inputs"):
        form_of(model_of(mixed))


def run(predict, *inputs, parameters=None, headers=None, **more):
    outputs, response_parameters, response_headers = register(model_of(predict, **more)).executor.run(
        list(inputs), parameters or {}, headers or {}
    )
    assert response_parameters is None
    named = {name: np.asarray(data).reshape(shape).tolist() for name, _, shape, data in outputs}
    return (named, response_headers) if response_headers else named


def test_a_lone_input_may_have_any_name():
    def predict(self, rows: np.ndarray):
        return rows.sum(axis=1)

    assert run(predict, tensor("whatever", [[1, 2], [3, 4]])) == {"output-0": [3, 7]}


def test_inputs_are_found_by_name():
    def predict(self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None):
        return {"difference": a - b, "given": np.array([c is not None] * len(a))}

    both = run(predict, tensor("b", [1, 1]), tensor("a", [5, 6]))
    assert both == {"difference": [4, 5], "given": [False, False]}
    assert run(predict, tensor("c", [0]), tensor("b", [1]), tensor("a", [5]))["given"] == [True]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([tensor("a", [1])], "inputs: must be a, b, got a. Missing: b."),
        ([tensor("a", [1]), tensor("b", [1]), tensor("z", [1])], "Unknown: z."),
        ([], "got none. Missing: a, b."),
    ],
)
def test_missing_and_unknown_inputs_are_named(inputs, text):
    def predict(self, a: np.ndarray, b: np.ndarray): ...

    with pytest.raises(InvalidInput) as caught:
        run(predict, *inputs)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("returned", "outputs"),
    [
        (np.array([[1.5]]), {"output-0": [[1.5]]}),
        ((np.array([1]), np.array(["a"])), {"output-0": [1], "output-1": ["a"]}),
        ({"predictions": np.array([1]), "outputs": [2]}, {"predictions": [1], "outputs": [2]}),
        (pd.DataFrame({"p": [1], "q": ["x"]}), {"p": [1], "q": ["x"]}),
        (pd.Series([1], name="p"), {"p": [1]}),
        ([1, 2], {"output-0": [1, 2]}),
    ],
    ids=["array", "tuple", "dict", "frame", "series", "list"],
)
def test_returns(returned, outputs):
    def predict(self, x: np.ndarray):
        return returned

    assert run(predict, tensor("x", [1])) == outputs


def test_frames_get_all_inputs_as_columns():
    def predict(self, rows: pd.DataFrame):
        assert list(rows.columns) == ["n", "city"]
        return rows["n"].to_numpy() * rows["city"].str.len().to_numpy()

    assert run(predict, tensor("n", [2, 3]), tensor("city", ["ab", "é"])) == {"output-0": [4, 3]}


@pytest.mark.parametrize(
    ("hint", "given_", "expected"),
    [
        (NDArray[np.float32], tensor("x", [1.5]), np.array([1.5], np.float32)),
        (NDArray[np.float64], tensor("x", [1]), np.array([1.0])),
        (NDArray[np.int32], tensor("x", [2.0]), np.array([2], np.int32)),
        (NDArray[np.bool_], tensor("x", [1, 0]), np.array([True, False])),
        (NDArray[np.str_], tensor("x", ["é"]), np.array(["é"])),
        (NDArray[np.bytes_], tensor("x", ["a"]), np.array([b"a"])),
        (NDArray[np.object_], tensor("x", ["a"]), np.array([b"a"], object)),
        (NDArray[np.floating], tensor("x", [1]), np.array([1])),
        (np.ndarray, tensor("x", ["a"]), np.array([b"a"], object)),
    ],
    ids=str,
)
def test_dtype_hints_cast(hint, given_, expected):
    got = []

    def predict(self, x):
        got.append(x)
        return [0]

    predict.__annotations__["x"] = hint
    run(predict, given_)
    assert got[0].dtype == expected.dtype
    assert got[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("hint", "given_", "text"),
    [
        (np.int64, tensor("x", [1.5]), "inputs.x: has values that int64 cannot hold."),
        (np.int64, tensor("x", [np.nan]), "inputs.x: has values that int64 cannot hold."),
        (np.int8, tensor("x", [300]), "int8 cannot hold"),
        (np.uint8, tensor("x", [-1]), "uint8 cannot hold"),
        (np.bool_, tensor("x", [2]), "bool cannot hold"),
        (np.float32, tensor("x", ["1.5"]), "must be float32, got text."),
        (np.str_, tensor("x", [1]), "must be text, got int64 values."),
        (np.str_, tensor("x", [b"\xff"], "BYTES"), "must be UTF-8 text."),
        (np.str_, ("x", "BYTES", (1,), [None], [0]), "has nulls"),
    ],
)
def test_casts_never_lose_values_in_silence(hint, given_, text):
    def predict(self, x): ...

    predict.__annotations__["x"] = NDArray[hint]
    with pytest.raises(InvalidInput) as caught:
        run(predict, given_)
    assert text in str(caught.value)


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64, np.bool_]),
)
def test_a_cast_to_integers_is_exact_or_refused(values, dtype):
    array = np.array(values, np.int64)
    try:
        assert cast_to(array, np.dtype(dtype), "x").tolist() == values
    except InvalidInput:
        limits = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        assert any(not limits[0] <= value <= limits[1] for value in values)


def test_extras_are_passed_and_headers_returned():
    def predict(self, x: np.ndarray, parameters, headers, response_headers):
        response_headers["Seen"] = f"{parameters['k']} {headers['h']}"
        return x

    outputs, headers = run(predict, tensor("x", [1]), parameters={"k": 1}, headers={"h": "v"})
    assert (outputs, headers) == ({"output-0": [1]}, {"seen": "1 v"})


def test_array_hooks_chain():
    def preprocess(self, raw: np.ndarray):
        return {"a": raw, "b": raw * 10}

    def predict(self, a: np.ndarray, b: np.ndarray):
        return a + b

    def postprocess(self, result: np.ndarray, parameters):
        return {"sum": result, "k": np.array([parameters["k"]] * len(result))}

    got = run(
        predict, tensor("x", [1, 2]), preprocess=preprocess, postprocess=postprocess, parameters={"k": 3}
    )
    assert got == {"sum": [11, 22], "k": [3, 3]}


def test_errors_of_a_batch_keep_their_status(caplog):
    def predict(self, x: np.ndarray):
        raise ValueError("broken")

    with pytest.raises(InferenceError, match="broken"):
        run(predict, tensor("x", [1]))
    assert "Traceback" in caplog.text

    def refuses(self, x: np.ndarray):
        raise InvalidInput("no")

    with pytest.raises(InvalidInput, match="no"):
        run(refuses, tensor("x", [1]))

    def hidden(self, x: np.ndarray):
        return iter(["a"])

    with pytest.raises(InferenceError, match="Annotate predict with -> Iterator"):
        run(hidden, tensor("x", [1]))


async def async_predict(self, x: np.ndarray):
    await asyncio.sleep(0)
    return x * 2


async def async_streaming(self, x: np.ndarray) -> AsyncIterator[str]:
    for number in x:
        yield f"{number};"


def sync_streaming(self, x: np.ndarray) -> Iterator[str]:
    return (f"{number};" for number in x)


@pytest.mark.parametrize(
    ("predict", "more", "tensors", "raw_v1", "wants_headers", "max_batch_size"),
    [
        (plain, {}, False, True, True, 1),
        (one, {}, True, False, False, 256),
        (one, {"max_batch_size": 1}, True, False, False, 1),
        (one, {"max_batch_size": 32}, True, False, False, 32),
        (one, {"explain": plain}, True, False, False, 256),  # headers would keep requests apart
        (extras, {}, True, False, True, 1),
        (async_predict, {}, False, False, True, 1),
        (async_streaming, {}, False, False, True, 1),
        (sync_streaming, {}, False, False, True, 1),
    ],
)
def test_registration(predict, more, tensors, raw_v1, wants_headers, max_batch_size):
    got = register(model_of(predict, **more))
    assert got[1:] == (tensors, raw_v1, "explain" in more, wants_headers, max_batch_size)


def test_async_arrays_are_answered_one_by_one_from_the_loop():
    executor = register(model_of(async_predict)).executor
    for protocol in ("v1", "v2", "grpc"):
        assert ask(executor, v2(tensor("x", [1, 2]), protocol=protocol)).named == {"output-0": [2, 4]}
    assert ask(executor, v2(tensor("x", [1]), tensor("y", [1]))).status == 400


@pytest.mark.parametrize("predict", [async_streaming, sync_streaming])
def test_arrays_may_stream(predict):
    reply = ask(register(model_of(predict)).executor, v2(tensor("x", [1, 2])))
    assert (reply.sent.parts, reply.content_type) == ([b"1;", b"2;"], "text/plain; charset=utf-8")


def test_a_model_of_arrays_explains_payloads():
    def explain(self, payload, headers):
        return {"explanations": payload["instances"]}

    executor = register(model_of(one, explain=explain)).executor
    assert ask(executor, v1({"instances": [1]}, verb="explain")).json == {"explanations": [1]}


def test_nothing_is_inspected_when_requests_come(monkeypatch):
    def predict(self, payload, headers):
        return {"predictions": [1]}

    def arrays(self, x: NDArray[np.float32]):
        return x

    executors = [register(model_of(predict)).executor, register(model_of(arrays)).executor]
    monkeypatch.setattr(inspect, "signature", None)
    assert ask(executors[0], v1({"instances": [1]})).json == {"predictions": [1]}
    executors[1].run([tensor("x", [1.0])], {}, {})


def test_hooks_of_a_models_life_may_be_async():
    class Lives(Model):
        async def load(self):
            self.ready = True
            return True

        async def healthy(self):
            return await super().healthy()

    model = Lives("m")
    assert settle(model.healthy()) is False
    assert settle(model.load()) is True
    assert settle(model.healthy()) is True
    model.stop()
    assert not model.ready


def test_the_server_hears_when_a_model_turns_unready():
    class Early(Model):
        def __init__(self, name):
            self.ready = True  # before super().__init__, as some do
            super().__init__(name)

    model, told = Early("m"), []
    model.ready = True
    model.watch_ready(told.append)
    model.stop()
    model.ready = True
    assert told == [True, False, True]


def test_metadata_comes_from_the_signature():
    from modelport.server.signature import Signature, TensorSpec

    signature = Signature(inputs=(TensorSpec("x", "FP32", (-1, 4)),))
    model = model_of(one, signature=signature)
    assert model.get_input_types() == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert model.get_output_types() == []
    assert Model("m").get_input_types() == []


def test_the_loop_survives_what_a_task_raises():
    class Exits(Model):
        async def predict(self, payload, headers):
            raise SystemExit(3)

    executor = register(Exits("m")).executor
    assert ask(executor, v1({})).status == 500
    assert ask(executor, v1({})).status == 500
    assert LOOP.call(asyncio.sleep(0, "alive")) == "alive"
    assert sum(thread.name == "modelport-loop" for thread in threading.enumerate()) == 1


def test_a_cancelled_request_is_not_predicted():
    reply = Reply(cancelled=True)
    register(model_of(async_predict)).executor.handle(v2(tensor("x", [1])), reply)
    assert reply.kind is None


KSERVE_PREDICTOR = """
import numpy as np
from kserve import Model, InferInput, InferRequest, InferOutput, InferResponse
from kserve.utils.utils import get_predict_input, get_predict_response


class Custom(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.load()

    def load(self):
        self.weights = np.array([1.0, 10.0])
        self.ready = True
        return self.ready

    async def preprocess(self, payload, headers=None):
        return {"given": payload, "rows": np.asarray(get_predict_input(payload))}

    def predict(self, payload: dict, headers: dict[str, str] = None) -> dict | InferResponse:
        return {**payload, "scores": payload["rows"] @ self.weights}

    async def postprocess(self, result, headers=None):
        return get_predict_response(result["given"], result["scores"], self.name)
"""


def test_a_kserve_predictor_runs_after_changing_its_import_lines():
    source = KSERVE_PREDICTOR.replace("from kserve.utils.utils import", "from modelport import")
    scope = {}
    exec(source.replace("from kserve import", "from modelport import"), scope)
    registration = register(scope["Custom"]("custom"))
    assert (registration.tensors, registration.raw_v1) == (False, True)
    reply = ask(registration.executor, v1({"instances": [[1, 2], [3, 4]]}))
    assert reply.json == {"predictions": [21.0, 43.0]}
    reply = ask(registration.executor, v2(tensor("input-0", np.array([[1, 2]], np.float32)), id="1"))
    assert reply.named == {"output-0": [21.0]}


def test_every_public_name_can_be_imported():
    import modelport

    for name in modelport.__all__:
        assert getattr(modelport, name).__name__ == name
