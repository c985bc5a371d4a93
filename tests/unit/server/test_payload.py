"""Models that take payloads: what they are given, what they may return, and how they fail."""

import asyncio
import logging
import threading

import numpy as np
import pandas as pd
import pytest
from fakes import ask, tensor, v1, v2

from modelport.protocol.errors import HTTPError, InvalidInput
from modelport.protocol.infer import InferRequest, InferResponse
from modelport.protocol.infer_tensor import InferOutput
from modelport.server.model import Model
from modelport.server.payload import PayloadExecutor

ROWS = {"instances": [[1, 2], [3, 4]]}


def returning(result, **attributes):
    """An executor of a model that returns a value, or what a function makes of the payload."""

    class Returning(Model):
        def predict(self, payload, headers):
            return result(payload) if callable(result) else result

    model = Returning("m")
    vars(model).update(attributes)
    return PayloadExecutor(model)


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"predictions": [1.5, float("nan")]}, {"predictions": [1.5, None]}),
        ({"predictions": np.array([[1, 2]])}, {"predictions": [[1, 2]]}),
        ({"answer": np.float32(0.5), "more": b"text"}, {"answer": 0.5, "more": "text"}),
        (np.array([1, 2]), {"predictions": [1, 2]}),
        ([1, "a"], {"predictions": [1, "a"]}),
        (np.float64(2), {"predictions": 2.0}),
        (
            pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
            {"predictions": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
        ),
        (pd.Series([1.5]), {"predictions": [1.5]}),
        (None, {"predictions": None}),
        (
            InferResponse("7", "m", [InferOutput("y", [1], "INT64", [5])]),
            {
                "id": "7",
                "model_name": "m",
                "model_version": None,
                "outputs": [{"name": "y", "shape": [1], "datatype": "INT64", "data": [5]}],
            },
        ),
    ],
    ids=[
        "dict",
        "array in dict",
        "scalars",
        "array",
        "list",
        "scalar",
        "frame",
        "series",
        "none",
        "response",
    ],
)
def test_v1_results_become_json(result, body):
    reply = ask(returning(result), v1(ROWS))
    assert (reply.status, reply.content_type, reply.json) == (200, "application/json", body)


@pytest.mark.parametrize(
    ("result", "content_type", "content"),
    [(b"\xff\0", "application/octet-stream", b"\xff\0"), ("é", "text/plain; charset=utf-8", "é".encode())],
)
@pytest.mark.parametrize("request_", [v1(ROWS), v2(tensor("x", [1]))], ids=["v1", "v2"])
def test_bytes_and_text_are_sent_as_they_are(request_, result, content_type, content):
    reply = ask(returning(result), request_)
    assert (reply.content_type, reply.content) == (content_type, content)


@pytest.mark.parametrize("protocol", ["v2", "grpc"])
@pytest.mark.parametrize(
    ("result", "outputs"),
    [
        (np.array([[1, 2]]), {"output-0": [[1, 2]]}),
        ([1.5], {"output-0": [1.5]}),
        ((np.array([1]), np.array([2])), {"output-0": [1], "output-1": [2]}),
        ({"label": np.array(["a"]), "score": [0.5]}, {"label": ["a"], "score": [0.5]}),
        ({"predictions": [3]}, {"output-0": [3]}),
        (pd.DataFrame({"a": [1], "b": ["x"]}), {"a": [1], "b": ["x"]}),
        (
            {"outputs": [{"name": "y", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]},
            {"y": ["a", "b"]},
        ),
        (InferResponse(None, "m", [InferOutput("y", [1, 1], "FP32", [0.5])]), {"y": [[0.5]]}),
    ],
    ids=["array", "list", "tuple", "by name", "v1 dict", "frame", "v2 dict", "response"],
)
def test_v2_results_become_tensors(protocol, result, outputs):
    reply = ask(returning(result), v2(tensor("x", [1]), protocol=protocol))
    assert reply.named == outputs


def test_response_parameters_and_bf16_travel():
    bits = InferOutput("y", [2], "BF16", [1.0, -2.0])
    response = InferResponse(None, "m", [bits], parameters={"n": 1, "s": "x"})
    reply = ask(returning(response), v2(tensor("x", [1])))
    assert reply.parameters == {"n": 1, "s": "x"}
    name, datatype, shape, data = reply.outputs[0]
    assert (name, datatype, shape, data.tolist()) == ("y", "BF16", (2,), [0x3F80, 0xC000])


def seen(request_):
    given = []
    ask(returning(lambda payload: given.append(payload) or [0]), request_)
    return given[0]


def test_v2_brings_an_infer_request():
    payload = seen(
        v2(
            tensor("x", np.array([[1.5, 2.5]], np.float32)),
            tensor("t", ["é"]),
            id="9",
            parameters={"k": 1},
            input_parameters=[{"a": True}, {}],
            outputs=[("y", {"binary_data": True})],
        )
    )
    assert isinstance(payload, InferRequest)
    assert (payload.id, payload.model_name, payload.parameters, payload.from_grpc) == (
        "9",
        "m",
        {"k": 1},
        False,
    )
    assert payload.inputs[0].parameters == {"a": True}
    assert payload.get_input_by_name("x").as_numpy().tolist() == [[1.5, 2.5]]
    assert payload.inputs[1].data == ["é"]
    assert payload.request_outputs[0].binary_data


def test_text_by_grpc_is_bytes():
    payload = seen(v2(tensor("t", ["é"]), protocol="grpc"))
    assert payload.from_grpc
    assert payload.inputs[0].as_numpy().tolist() == ["é".encode()]
    assert payload.inputs[0].as_string() == ["é"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/ld+json",
    ],
)
def test_json_is_parsed(content_type):
    headers = {"content-type": content_type} if content_type else {}
    assert seen(v1(ROWS, headers=headers)) == ROWS


def test_other_media_types_arrive_as_bytes():
    assert seen(v1(b"\x89PNG", headers={"content-type": "image/png"})) == b"\x89PNG"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InvalidInput("x: wrong"), 400, "x: wrong"),
        (HTTPError(418, "teapot"), 418, "teapot"),
        (ValueError("broken"), 500, "broken"),
        (KeyError("instances"), 500, "'instances'"),
        (RuntimeError(), 500, "RuntimeError"),
        (ValueError("half a pair: \ud800"), 500, "half a pair: \\ud800"),
        (NotImplementedError("no"), 501, "no"),
        (type("HTTPException", (Exception,), {"status_code": 404, "detail": "gone"})(), 404, "gone"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_errors_have_a_status_and_no_traceback(error, status, message, is_async, caplog):
    class Failing(Model):
        def predict(self, payload, headers):
            raise error

    class AsyncFailing(Model):
        async def predict(self, payload, headers):
            raise error

    with caplog.at_level(logging.ERROR, "modelport"):
        reply = ask(PayloadExecutor((AsyncFailing if is_async else Failing)("m")), v1(ROWS))
    assert (reply.status, reply.message) == (status, message)
    assert any(record.exc_info for record in caplog.records) == (status == 500)


@pytest.mark.parametrize(
    ("result", "request_", "message"),
    [
        ({"predictions": object()}, v1(ROWS), "have no JSON form"),
        ({"p": b"\xff"}, v1(ROWS), "not UTF-8"),
        (b"x", v2(tensor("x", [1]), protocol="grpc"), "which gRPC cannot carry"),
        ({"scores": "x"}, v2(tensor("x", [1])), "returned a dict with 'scores' for a V2 request"),
        (None, v2(tensor("x", [1])), "must be an array, got NoneType"),
        ([[1], [1, 2]], v2(tensor("x", [1])), "differ in length"),
        ({"outputs": [{"name": "y"}]}, v2(tensor("x", [1])), "malformed response: outputs[0]"),
        (
            InferResponse(None, "m", [InferOutput("y", [2], "INT8", [1])]),
            v2(tensor("x", [1])),
            "does not fit",
        ),
    ],
)
def test_results_that_fit_no_protocol_are_the_models_failure(result, request_, message):
    reply = ask(returning(result), request_)
    assert reply.status == 500
    assert message in reply.message


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"{", "Unrecognized request format: "), ({"instances": 3}, 'Expected "instances" to be a list')],
)
def test_bad_bodies_are_the_clients_fault(body, message):
    reply = ask(returning([0]), v1(body))
    assert (reply.status, reply.message.startswith(message)) == (400, True)


def test_nobody_predicts_for_a_client_that_left():
    calls = []
    executor = returning(calls.append)
    from fakes import Reply

    executor.handle(v1(ROWS), Reply(cancelled=True))
    assert calls == []


def test_the_default_predict_says_what_to_define():
    class Empty(Model):
        pass

    reply = ask(PayloadExecutor(Empty("m")), v1(ROWS))
    assert (reply.status, reply.message) == (501, "Model m cannot predict: Empty defines no predict method.")
    reply = ask(PayloadExecutor(Empty("m", predictor_config=object())), v1(ROWS))
    assert "comes with the platform" in reply.message
    reply = ask(PayloadExecutor(Empty("m")), v1(ROWS, verb="explain"))
    assert (reply.status, reply.message) == (501, "Model m cannot explain: Empty defines no explain method.")


class Chain(Model):
    """Writes down who was called, in which order, on which thread."""

    def preprocess(self, payload, headers):
        return {"instances": [*payload["instances"], "pre", headers["x"]]}

    def predict(self, payload):
        return {"predictions": [*payload["instances"], "predict"]}

    def explain(self, payload, headers):
        return [*payload["instances"], "explain"]

    def postprocess(self, result, headers=None, response_headers=None):
        key = "predictions" if isinstance(result, dict) else None
        return {"predictions": [*(result[key] if key else result), "post", response_headers]}


class AsyncChain(Chain):
    async def preprocess(self, payload, headers):
        await asyncio.sleep(0)
        return super().preprocess(payload, headers)


@pytest.mark.parametrize("kind", [Chain, AsyncChain])
def test_hooks_run_in_order_with_what_they_take(kind):
    executor = PayloadExecutor(kind("m"))
    reply = ask(executor, v1({"instances": [1]}, headers={"x": "h"}))
    assert reply.json == {"predictions": [1, "pre", "h", "predict", "post", None]}
    reply = ask(executor, v1({"instances": [1]}, headers={"x": "h"}, verb="explain"))
    assert reply.json == {"predictions": [1, "pre", "h", "explain", "post", None]}


def test_explanations_are_wrapped():
    class Explains(Model):
        def explain(self, payload):
            return np.array([0.5])

    reply = ask(PayloadExecutor(Explains("m")), v1(ROWS, verb="explain"))
    assert reply.json == {"explanations": [0.5]}


@pytest.mark.parametrize("is_async", [False, True])
def test_response_headers_reach_the_client(is_async):
    class Headers(Model):
        def predict(self, payload, headers, response_headers):
            response_headers.update({"Prediction-Time": 5, "Content-Length": "1", "content-type": "text/csv"})
            return "a,b"

    class AsyncHeaders(Headers):
        async def postprocess(self, result, headers, response_headers):
            response_headers["post"] = "yes"
            return result

    model = (AsyncHeaders if is_async else Headers)("m", return_response_headers=True)
    reply = ask(PayloadExecutor(model), v1(ROWS))
    assert reply.content_type == "text/csv"
    assert reply.headers == {"prediction-time": "5"} | ({"post": "yes"} if is_async else {})


def test_sync_models_run_on_the_calling_thread_and_async_ones_side_by_side():
    threads = []
    ask(returning(lambda payload: threads.append(threading.current_thread()) or [0]), v1(ROWS))
    assert threads == [threading.current_thread()]

    class Meeting(Model):
        all_here = asyncio.Barrier(8)  # answers only if all eight wait at once

        async def predict(self, payload, headers):
            await self.all_here.wait()
            threads.append(threading.current_thread())
            return [0]

    from fakes import Reply

    executor, replies = PayloadExecutor(Meeting("m")), [Reply() for _ in range(8)]
    for reply in replies:
        executor.handle(v1(ROWS), reply)
    assert all(reply.done.wait(20) for reply in replies)
    assert {thread.name for thread in threads[1:]} == {"modelport-loop"}


def test_sync_steps_beside_async_ones_leave_the_loop_free_and_do_not_overlap():
    class Mixed(Model):
        busy = 0

        async def preprocess(self, payload, headers):
            return payload

        def predict(self, payload, headers):
            assert threading.current_thread().name.startswith("modelport-m")
            self.busy += 1
            assert self.busy == 1
            self.busy -= 1
            return [1]

    from fakes import Reply

    executor, replies = PayloadExecutor(Mixed("m")), [Reply() for _ in range(20)]
    for reply in replies:
        executor.handle(v1(ROWS), reply)
    assert all(reply.done.wait(20) and reply.kind == "body" for reply in replies)


def test_a_plain_function_may_return_a_coroutine():
    async def later(payload):
        await asyncio.sleep(0)
        return [1]

    assert ask(returning(later), v1(ROWS)).json == {"predictions": [1]}


# Streams


class Counts(Model):
    closed = False

    def predict(self, payload, headers):
        try:
            for number in payload["instances"]:
                if number == "fail":
                    raise ValueError("broken")
                yield number
        finally:
            self.closed = True


class AsyncCounts(Counts):
    async def predict(self, payload, headers):
        try:
            for number in payload["instances"]:
                await asyncio.sleep(0)
                if number == "fail":
                    raise ValueError("broken")
                yield number
        finally:
            self.closed = True


class Returns(Counts):
    async def predict(self, payload, headers):
        return AsyncCounts.predict(self, payload, headers)


class Mixed(Counts):
    async def preprocess(self, payload, headers):
        return payload


@pytest.mark.parametrize("kind", [Counts, AsyncCounts, Returns, Mixed])
@pytest.mark.parametrize(
    ("instances", "accept", "content_type", "parts"),
    [
        (["a", "é"], "*/*", "text/plain; charset=utf-8", [b"a", "é".encode()]),
        ([{"n": 1}, {"n": 2}], "*/*", "application/x-ndjson", [b'{"n":1}\n', b'{"n":2}\n']),
        ([{"n": 1}], "text/event-stream", "text/event-stream", [b'data: {"n":1}\n\n']),
        (["data: x\n\n"], "text/event-stream", "text/event-stream", [b"data: x\n\n"]),
        ([], "*/*", "application/x-ndjson", []),
    ],
    ids=["text", "lines", "events", "own events", "empty"],
)
def test_generators_stream(kind, instances, accept, content_type, parts):
    model = kind("m")
    reply = ask(PayloadExecutor(model), v1({"instances": instances}, headers={"accept": accept}))
    assert (reply.content_type, reply.sent.parts, reply.sent.closed) == (content_type, parts, True)


@pytest.mark.parametrize("kind", [Counts, AsyncCounts, Mixed])
def test_streams_fail_with_a_status_before_the_first_part_and_in_the_stream_after(kind):
    reply = ask(PayloadExecutor(kind("m")), v1({"instances": ["fail"]}))
    assert (reply.status, reply.message) == (500, "broken")
    reply = ask(PayloadExecutor(kind("m")), v1({"instances": ["a", "fail"]}))
    assert (reply.sent.parts, reply.sent.failed) == ([b"a"], (500, "broken"))


@pytest.mark.parametrize("kind", [Counts, AsyncCounts, Mixed])
def test_generators_are_closed_when_the_client_leaves(kind):
    model = kind("m")
    reply = ask(PayloadExecutor(model), v1({"instances": list("abcdef")}), limit=2)
    assert reply.sent.parts == [b"a", b"b"]
    for _ in range(1000):
        if model.closed:
            break
        threading.Event().wait(0.005)
    assert model.closed


def test_grpc_has_no_streams():
    class Streams(Model):
        def predict(self, payload, headers):
            yield "a"

    reply = ask(PayloadExecutor(Streams("m")), v2(tensor("x", [1]), protocol="grpc"))
    assert reply.status == 501


@pytest.mark.parametrize("signature", ["()", "(a, b, c, d)"])
def test_impossible_signatures_are_refused_at_registration(signature):
    scope = {}
    exec(f"def predict{signature.replace('(', '(self, ')}: pass", scope)
    model = type("Odd", (Model,), {"predict": scope["predict"]})("m")
    with pytest.raises(TypeError, match=r"Odd\.predict: must take"):
        PayloadExecutor(model)
