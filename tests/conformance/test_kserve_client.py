"""The kserve SDK's clients: InferenceRESTClient with V1 and V2, InferenceGRPCClient."""

from __future__ import annotations

from typing import Any

import pytest
from served import Running

NUMERIC = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
DATATYPES = (*NUMERIC, "FP16", "FP32", "FP64", "BYTES")
SUM = {"OUTPUT0": ["INT32", [1, 16], [list(range(1, 17))]]}
BOTH = SUM | {"OUTPUT1": ["INT32", [1, 16], [list(range(-1, 15))]]}
TOLD = {"id": "one-7", "parameters": {"whole": 7, "text": "a"}, "headers": {"x-mine": "yours"}, "outputs": []}


@pytest.fixture(scope="module")
def told(server: Running, client: Any) -> dict[str, Any]:
    return client("kserve", "kserve_client.py", server.rest, server.grpc)


def test_v1(told: dict[str, Any]) -> None:
    v1 = told["v1"]
    assert (v1["live"], v1["iris"]) == (True, True)
    assert v1["predict"] == {"predictions": [1, 1]}
    assert v1["teller"] == {"predictions": [2], "headers": {"x-mine": "yours"}}
    assert v1["headers"]["x-told"] == "yes"
    assert v1["explain"] == {"explanations": ["row 0", "row 1"]}


@pytest.mark.parametrize(
    ("case", "status", "text"),
    [
        ("not a list", "400 Bad Request", 'Expected "instances" to be a list'),
        ("no instances", "400 Bad Request", '"instances" is missing'),
        ("nothing", "404 Not Found", "Model with name nothing does not exist."),
        ("nothing ready", "404 Not Found", "Model with name nothing does not exist."),
        ("no explainer", "501 Not Implemented", "Model iris has no explainer."),
    ],
)
def test_v1_errors(told: dict[str, Any], case: str, status: str, text: str) -> None:
    error = told["v1"][case]
    assert error["kind"] == "HTTPStatusError"
    assert f"'{status}' for url" in error["text"]
    assert text in error["text"]


def test_v2_health(told: dict[str, Any]) -> None:
    v2 = told["v2"]
    assert (v2["live"], v2["ready"], v2["simple"], v2["nothing"]) == (True, True, True, False)


@pytest.mark.parametrize("given", ["JSON", "binary"])
def test_v2_outputs_as_asked(told: dict[str, Any], given: str) -> None:
    for asked in ("JSON", "binary"):
        assert told["v2"][f"{given} to {asked}"] == {"id": "one-7", "model": "simple", "outputs": SUM}
    assert told["v2"][f"{given} to default"]["outputs"] == BOTH
    assert told["v2"]["binary_data_output"]["outputs"] == BOTH
    assert told["v2"]["binary_data_output"]["id"]


def test_v2_parameters_and_headers_reach_the_model(told: dict[str, Any]) -> None:
    assert told["v2"]["teller"] == TOLD | {"inputs": {"x": ["FP32", [2, 3], {"own": "1"}]}}


@pytest.mark.parametrize(
    ("case", "status", "text"),
    [
        ("missing input", "400 Bad Request", 'inputs: missing "INPUT1".'),
        ("unknown model", "404 Not Found", "Model with name nothing does not exist."),
        ("unknown output", "400 Bad Request", 'outputs[0].name: the model has no output "OUTPUT9".'),
    ],
)
def test_v2_errors(told: dict[str, Any], case: str, status: str, text: str) -> None:
    error = told["v2"][case]
    assert error["kind"] == "HTTPStatusError"
    assert f"'{status}' for url" in error["text"]
    assert text in error["text"]


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("way", ["JSON", "binary", "gRPC", "gRPC typed"])
def test_datatype(told: dict[str, Any], datatype: str, way: str) -> None:
    if datatype == "FP16" and way in ("JSON", "gRPC typed"):
        return  # the SDK sends FP16 as binary only
    case = told["datatypes"][f"{datatype} {way}"]
    assert case["got"] == case["sent"]
    assert (case["datatype"], case["shape"]) == (datatype, [2, 3])


def test_grpc(told: dict[str, Any]) -> None:
    grpc = told["grpc"]
    assert (grpc["live"], grpc["ready"], grpc["simple"]) == (True, True, True)
    for way in ("typed", "raw"):
        assert grpc[way] == {"id": "one-7", "model": "simple", "outputs": BOTH}
    inputs = grpc["teller"].pop("inputs")
    assert grpc["teller"] == TOLD
    assert inputs["x"][:2] == ["FP32", [2, 3]]


@pytest.mark.parametrize(
    ("case", "code", "text"),
    [
        ("nothing", "NOT_FOUND", "Model with name nothing does not exist."),
        ("missing input", "INVALID_ARGUMENT", 'inputs: missing "INPUT1".'),
        ("unknown model", "NOT_FOUND", "Model with name nothing does not exist."),
    ],
)
def test_grpc_errors(told: dict[str, Any], case: str, code: str, text: str) -> None:
    error = told["grpc"][case]
    assert (error["kind"], error["code"]) == ("AioRpcError", code)
    assert text in error["text"]
