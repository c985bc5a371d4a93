"""NVIDIA's tritonclient, HTTP and gRPC, with the code that its users have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from served import Running

HTTP, GRPC = "tritonclient_http.py", "tritonclient_grpc.py"
NUMERIC = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
DATATYPES = (*NUMERIC, "FP16", "FP32", "FP64", "BYTES")
READY = dict.fromkeys(("echo", "iris", "simple", "teller"), "READY")
ROW = [list(range(1, 17))]


@pytest.fixture(scope="module")
def http(server: Running, client: Any) -> dict[str, Any]:
    return client("tritonclient", HTTP, server.rest.removeprefix("http://"))


@pytest.fixture(scope="module")
def grpc(server: Running, client: Any) -> dict[str, Any]:
    return client("tritonclient", GRPC, server.grpc)


@pytest.fixture(params=["http", "grpc"])
def told(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.getfixturevalue(request.param)


def test_health(http: dict[str, Any], grpc: dict[str, Any]) -> None:
    assert http["health"] == {"live": True, "ready": True, "simple": True, "nothing": False}
    assert {**grpc["health"], "nothing": None} == {
        "live": True,
        "ready": True,
        "simple": True,
        "nothing": None,
    }
    assert (
        grpc["health"]["nothing"]["text"] == "[StatusCode.NOT_FOUND] Model with name nothing does not exist."
    )


def test_metadata_and_configuration(told: dict[str, Any]) -> None:
    metadata = told["metadata"]
    assert metadata["server"]["name"] == "modelport"
    assert {"binary_tensor_data", "model_repository", "statistics"} < set(metadata["server"]["extensions"])
    model, config = metadata["model"], metadata["config"]
    assert (model["name"], model["platform"]) == ("simple", "python")
    assert [(one["name"], one["datatype"]) for one in model["inputs"]] == [
        ("INPUT0", "INT32"),
        ("INPUT1", "INT32"),
    ]
    assert [[int(axis) for axis in one["shape"]] for one in model["outputs"]] == [[-1, 16], [-1, 16]]
    assert (config["name"], config["max_batch_size"]) == ("simple", 256)
    assert [
        (one["name"], one["data_type"], [int(axis) for axis in one["dims"]]) for one in config["input"]
    ] == [
        ("INPUT0", "TYPE_INT32", [16]),
        ("INPUT1", "TYPE_INT32", [16]),
    ]


def test_models_are_unloaded_and_loaded(told: dict[str, Any]) -> None:
    repository = told["repository"]
    unloaded, loaded = repository["unloaded"], repository["loaded"]
    assert repository["before"] == READY
    assert unloaded[0] == {**READY, "iris": "UNAVAILABLE"}
    assert unloaded[1] in (False, "[StatusCode.NOT_FOUND] Model with name iris does not exist.")
    assert loaded == [READY, True]
    for action in ("load nothing", "unload nothing"):
        assert repository[action]["kind"] == "InferenceServerException"
        assert "Model with name nothing does not exist." in repository[action]["text"]


def test_statistics_count(told: dict[str, Any]) -> None:
    one = told["statistics"]["one"]
    assert one["name"] == "simple"
    assert int(one["inference_count"]) >= 1
    assert int(one["inference_stats"]["success"]["count"]) >= 1
    assert int(one["inference_stats"]["compute_infer"]["ns"]) > 0
    assert told["statistics"]["all"] == ["echo", "iris", "simple", "teller"]


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("given", ["binary", "JSON"])
@pytest.mark.parametrize("asked", ["binary", "JSON"])
def test_datatype_over_http(http: dict[str, Any], datatype: str, given: str, asked: str) -> None:
    case = http["datatypes"][f"{datatype} {given} to {asked}"]
    assert case["got"] == case["sent"]
    assert (case["output"]["datatype"], case["output"]["shape"]) == (datatype, [2, 3])
    assert ("binary_data_size" in case["output"].get("parameters", {})) == (asked == "binary")


@pytest.mark.parametrize("datatype", DATATYPES)
def test_datatype_over_grpc(grpc: dict[str, Any], datatype: str) -> None:
    case = grpc["datatypes"][datatype]
    assert case["got"] == case["sent"]
    assert (case["datatype"], case["shape"]) == (datatype, [2, 3])


def test_bf16_reaches_the_model_as_float32(told: dict[str, Any]) -> None:
    assert told["bfloat"]["got"] == told["bfloat"]["sent"]
    assert told["bfloat"]["datatype"] == "FP32"


def test_bytes_need_not_be_text(told: dict[str, Any]) -> None:
    assert [one.encode("latin-1") for one in told["any_bytes"]] == [b"\xff\x00\xfe", b"", b"plain"]


def test_no_rows_are_rows(told: dict[str, Any]) -> None:
    assert told["empty"] == [0, 4]


def test_each_output_comes_as_asked(http: dict[str, Any]) -> None:
    mixed = http["mixed_outputs"]
    assert mixed["names"] == ["OUTPUT1", "OUTPUT0"]
    assert mixed["in JSON"] == [True, False]
    assert mixed["sum"] == ROW
    assert mixed["difference"] == [[number - 2 for number in ROW[0]]]
    assert http["one_output"] == ["OUTPUT1"]


def test_outputs_are_requested_by_grpc(grpc: dict[str, Any]) -> None:
    assert grpc["requested_outputs"] == [["OUTPUT0", "OUTPUT1"], ["OUTPUT1"], ["OUTPUT1", "OUTPUT0"]]


def test_id_parameters_and_headers_reach_the_model(told: dict[str, Any]) -> None:
    response, seen = told["told"]["response"], json.loads(told["told"]["told"])
    assert response["id"] == seen["id"] == "one-7"
    assert response["model_name"] == "teller"
    own = {"text": "a", "whole": 7, "yes": True, "part": 0.5}
    sequence = {"sequence_id": 42, "sequence_start": True, "sequence_end": False, "priority": 3}
    assert seen["parameters"] == own | sequence
    assert seen["headers"]["x-mine"] == "yours"
    assert seen["inputs"] == {"x": ["FP32", [2, 3], {}]}


def test_compression(told: dict[str, Any]) -> None:
    assert len(told["compression"]) in (3, 9)
    assert all(shape == [64, 64] for shape in told["compression"].values())


def test_many_requests_under_way(http: dict[str, Any], grpc: dict[str, Any]) -> None:
    assert http["side_by_side"] == [[str(number), True] for number in range(40)]
    assert grpc["side_by_side"] == {str(number): number for number in range(40)}


def test_asyncio(http: dict[str, Any], grpc: dict[str, Any]) -> None:
    assert http["asyncio_client"] == {"ready": True, "sums": [136] * 8}
    streamed = {str(number): 136 + 16 * number for number in range(4)}
    assert grpc["asyncio_client"] == {"ready": True, "streamed": streamed}


def test_a_body_built_offline(http: dict[str, Any]) -> None:
    assert http["offline"] == ROW


def test_a_stream_outlives_a_bad_request(grpc: dict[str, Any]) -> None:
    sums = {str(number): 136 + 16 * number for number in range(20)} | {"last": 136 + 1600}
    assert grpc["stream"]["sums"] == sums
    shape, model = sorted(grpc["stream"]["failed"], reverse=True)
    assert shape == 'InferenceServerException: inputs[0].shape: input "INPUT0" takes [-1, 16], got [1, 5].'
    assert model == "InferenceServerException: Model with name nothing does not exist."


ERRORS = {
    "unknown model": (404, "Model with name nothing does not exist."),
    "unknown version": (
        404,
        "Model with name simple has no version 9. It has no versions: leave the version out.",
    ),
    "wrong shape": (400, 'inputs[0].shape: input "INPUT0" takes [-1, 16], got [1, 5].'),
    "wrong datatype": (400, 'inputs[0].datatype: input "INPUT0" takes INT32, got FP32.'),
    "missing input": (400, 'inputs: missing "INPUT1". The model takes "INPUT0", "INPUT1".'),
    "unknown input": (400, 'inputs: unknown "INPUT2". The model takes "INPUT0", "INPUT1".'),
    "unknown output": (
        400,
        'outputs[0].name: the model has no output "OUTPUT9". It has "OUTPUT0", "OUTPUT1".',
    ),
    "metadata of nothing": (404, "Model with name nothing does not exist."),
    "config of nothing": (404, "Model with name nothing does not exist."),
    "statistics of nothing": (404, "Model with name nothing does not exist."),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_the_same_by_both(http: dict[str, Any], grpc: dict[str, Any], case: str) -> None:
    status, text = ERRORS[case]
    code = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}[status]
    assert http["errors"][case] == {"kind": "InferenceServerException", "text": f"[{status}] {text}"}
    assert grpc["errors"][case] == {"kind": "InferenceServerException", "text": f"[StatusCode.{code}] {text}"}


@pytest.mark.parametrize("extension", ["shared memory", "trace", "log"])
def test_extensions_that_are_not_there_say_so(http: dict[str, Any], extension: str) -> None:
    error = http["errors"][extension]
    assert error["kind"] == "InferenceServerException"
    assert error["text"].startswith("[404] No route GET /v2/")


def test_calls_that_are_not_there_say_so(grpc: dict[str, Any]) -> None:
    error = grpc["errors"]["shared memory"]
    assert error["kind"] == "InferenceServerException"
    assert "StatusCode.UNIMPLEMENTED" in error["text"]
    assert "SystemSharedMemoryStatus" in error["text"]
