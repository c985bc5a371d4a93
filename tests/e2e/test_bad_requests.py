"""Malformed requests that once were the server's fault, or did harm: each is a 4xx that says what is wrong.

Beside them, `benchmarks/bad_input.py` and the fuzzers have the many that never were.
"""

from __future__ import annotations

import grpc
import pytest
from process import request, serving

ROW = {"instances": [[6.8, 2.8, 4.8, 1.4]]}


@pytest.fixture(scope="module")
def server(tmp_path_factory, iris_file):
    folder = tmp_path_factory.mktemp("repository")
    (folder / "iris").mkdir()
    (folder / "iris" / "model.joblib").write_bytes(iris_file.read_bytes())
    (folder / "rows.py").write_text(
        "import modelport\n\n\nclass Rows(modelport.Model):\n    def predict(self, payload, headers=None):\n"
        "        rows = modelport.get_predict_input(payload)\n"
        "        return modelport.get_predict_response(payload, rows, self.name)\n"
    )
    with serving(folder, f"--model=rows={folder / 'rows.py'}:Rows") as server:
        yield server


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"a": 1}, 5], "instances: the rows are no table"),
        ([{"a": [1, 2], "b": [1]}], "instances: the rows are no table"),
        ([{"a": {"0": 1}}, "x"], "instances: the rows are no table"),
    ],
)
def test_rows_that_pandas_cannot_read(server, rows, told):
    answer = server.ask("/v1/models/rows:predict", {"instances": rows})
    assert answer.status == 400
    assert told in answer.error


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"\xff\xff\xff", "The message is not what the method takes: invalid varint"),
        (b"\x2a\x03\x0a\x01\xff", "InferInputTensor.name: ModelInferRequest.inputs: invalid string value"),
    ],
)
def test_grpc_messages_that_are_none(server, message, told):
    address = next(line.split()[1] for line in server.stdout.splitlines() if line.startswith("gRPC"))
    with grpc.insecure_channel(address) as channel:
        for method in ("ModelInfer", "ModelStreamInfer"):
            call = channel.unary_stream(f"/inference.GRPCInferenceService/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                list(call(message, timeout=60))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, method
            assert told in refused.value.details()


@pytest.mark.parametrize("order", ["models/iris/load", "models/iris/unload", "index"])
def test_repository_orders_that_are_lists(server, order):
    answer = server.ask(f"/v2/repository/{order}", [])
    assert answer.status == 400
    assert "must be a JSON object" in answer.error


@pytest.mark.parametrize("when", ["x", 1e300, 2**62])
def test_orders_of_processes_do_not_come_from_clients(server, when):
    """One from the future would make the server deaf to all that follow."""
    for verb in ("unload", "load"):
        body = {"parameters": {"modelport_local": when}}
        answer = request(f"{server.url}/v2/repository/models/iris/{verb}", body)
        assert answer.status == 400
        assert "parameters.modelport_local" in answer.error
    assert server.ask("/v1/models/iris:predict", ROW).json == {"predictions": [1]}
    server.ask("/v2/repository/models/iris/unload", {})
    assert server.ask("/v1/models/iris:predict", ROW).status == 404
    server.ask("/v2/repository/models/iris/load", {})
    assert server.ask("/v1/models/iris:predict", ROW).json == {"predictions": [1]}
