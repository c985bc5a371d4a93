"""Random rows for each model by every protocol. Arguments: REST address, gRPC host:port."""

from __future__ import annotations

import json
import random
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from every import text
from tell import check, run
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

TYPED = {
    "FP64": "fp64_contents",
    "INT64": "int64_contents",
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
}
Case = tuple[str, str, str, np.ndarray, dict[str, Any]]


def cases() -> Iterator[Case]:
    """Name, model, its input, rows, parameters."""
    for seed in range(4):
        generator = np.random.default_rng(seed)
        rows = generator.normal(5, 3, (int(generator.integers(1, 30)), 4))
        yield f"classes {seed}", "iris", "x", rows, {}
        yield f"probabilities {seed}", "iris", "x", rows, {"predict_proba": True}
        shape = (int(generator.integers(1, 9)), int(generator.integers(1, 9)))
        # Everything that a float can be, but for NaN and infinity: JSON has no such numbers.
        bits = generator.integers(0, 2**63, shape, dtype=np.uint64) * 2
        floats = np.where(np.isfinite(bits.view(np.float64)), bits.view(np.float64), 0.5)
        yield (
            f"floats {seed}",
            "echo",
            "x",
            np.where(floats == floats.astype(np.int64), floats + 0.5, floats),
            {},
        )
        yield f"integers {seed}", "echo", "x", generator.integers(-(2**63), 2**63 - 1, shape), {}
        yield f"booleans {seed}", "echo", "x", generator.integers(0, 2, shape).astype(bool), {}
        letters = random.Random(seed)
        words = [
            "".join(letters.choices('aé"\\\n東😀\t ', k=letters.randrange(9)))
            for _ in range(shape[0] * shape[1])
        ]
        yield f"text {seed}", "echo", "x", np.array(words, np.object_).reshape(shape), {}


def by_v1(rest: str, case: Case) -> Any:
    _, model, _, rows, parameters = case
    body = json.dumps({"instances": rows.tolist(), "parameters": parameters}).encode()
    request = urllib.request.Request(f"{rest}/v1/models/{model}:predict", body)
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.loads(response.read())["predictions"]


def by_http(given: bool, asked: bool) -> Callable[[triton_http.InferenceServerClient, Case], Any]:
    def infer(client: triton_http.InferenceServerClient, case: Case) -> Any:
        _, model, name, rows, parameters = case
        tensor = triton_http.InferInput(name, rows.shape, np_to_triton_dtype(rows.dtype))
        tensor.set_data_from_numpy(rows, binary_data=given)
        output = client.get_model_metadata(model)["outputs"]
        wanted = [
            triton_http.InferRequestedOutput(output[0]["name"] if output else "output-0", binary_data=asked)
        ]
        result = client.infer(model, [tensor], outputs=wanted, parameters=parameters or None)
        return result.as_numpy(wanted[0].name())

    return infer


def by_raw(client: triton_grpc.InferenceServerClient, case: Case) -> Any:
    _, model, name, rows, parameters = case
    tensor = triton_grpc.InferInput(name, rows.shape, np_to_triton_dtype(rows.dtype))
    tensor.set_data_from_numpy(rows)
    result = client.infer(model, [tensor], parameters=parameters or None)
    return result.as_numpy(result.get_response().outputs[0].name)


def by_typed(stub: service_pb2_grpc.GRPCInferenceServiceStub, case: Case) -> Any:
    _, model, name, rows, parameters = case
    request = service_pb2.ModelInferRequest(model_name=model)
    datatype = np_to_triton_dtype(rows.dtype)
    tensor = request.inputs.add(name=name, shape=rows.shape, datatype=datatype)
    elements = rows.ravel().tolist()
    elements = [one.encode() for one in elements] if datatype == "BYTES" else elements
    getattr(tensor.contents, TYPED[datatype]).extend(elements)
    for key, value in parameters.items():
        request.parameters[key].bool_param = value
    response = stub.ModelInfer(request, timeout=300)
    assert not response.raw_output_contents, "typed requests have typed answers"
    output = response.outputs[0]
    return np.array(list(getattr(output.contents, TYPED[output.datatype])), np.object_).reshape(output.shape)


@check
def answers(rest: str, address: str) -> Any:
    told: dict[str, dict[str, Any]] = {}
    http = triton_http.InferenceServerClient(rest.removeprefix("http://"), network_timeout=300.0)
    channel = grpc.insecure_channel(address)
    ways: dict[str, Callable[[Case], Any]] = {
        "V1": lambda case: by_v1(rest, case),
        "V2 JSON": lambda case: by_http(False, False)(http, case),
        "V2 binary": lambda case: by_http(True, True)(http, case),
        "V2 JSON to binary": lambda case: by_http(False, True)(http, case),
        "gRPC raw": lambda case: by_raw(triton_grpc.InferenceServerClient(address), case),
        "gRPC typed": lambda case: by_typed(service_pb2_grpc.GRPCInferenceServiceStub(channel), case),
    }
    for case in cases():
        told[case[0]] = {}
        for way, ask in ways.items():
            answer = np.array(ask(case), np.object_)
            told[case[0]][way] = [list(answer.shape), text(answer)]
    return told


if __name__ == "__main__":
    run(*sys.argv[1:])
