"""tritonclient's HTTP client, as its users write it. Argument: host:port."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio
from every import ARRAYS, text
from tell import check, raised, run
from tritonclient.utils import np_to_triton_dtype


def tensor(name: str, array: np.ndarray, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def pair(binary: bool = True) -> list[triton.InferInput]:
    one, other = np.arange(16, dtype=np.int32).reshape(1, 16), np.ones((1, 16), np.int32)
    return [tensor("INPUT0", one, binary), tensor("INPUT1", other, binary)]


@check
def health(client: triton.InferenceServerClient, _: str) -> Any:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "simple": client.is_model_ready("simple"),
        "nothing": client.is_model_ready("nothing"),
    }


@check
def metadata(client: triton.InferenceServerClient, _: str) -> Any:
    return {
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata("simple"),
        "config": client.get_model_config("simple"),
    }


@check
def repository(client: triton.InferenceServerClient, _: str) -> Any:
    def states() -> dict[str, str]:
        return {one["name"]: one["state"] for one in client.get_model_repository_index()}

    before = states()
    client.unload_model("iris")
    unloaded = states(), client.is_model_ready("iris")
    client.load_model("iris")
    return {
        "before": before,
        "unloaded": unloaded,
        "loaded": (states(), client.is_model_ready("iris")),
        "load nothing": raised(client.load_model, "nothing"),
        "unload nothing": raised(client.unload_model, "nothing"),
    }


@check
def statistics(client: triton.InferenceServerClient, _: str) -> Any:
    client.infer("simple", pair())
    one = client.get_inference_statistics("simple")["model_stats"][0]
    everything = client.get_inference_statistics()["model_stats"]
    return {"one": one, "all": sorted(each["name"] for each in everything)}


@check
def datatypes(client: triton.InferenceServerClient, _: str) -> Any:
    told: dict[str, Any] = {}
    for datatype, array in ARRAYS.items():
        for given in (True, False):
            for asked in (True, False):
                wanted = [triton.InferRequestedOutput("output-0", binary_data=asked)]
                way = f"{datatype} {'binary' if given else 'JSON'} to {'binary' if asked else 'JSON'}"
                result = client.infer("echo", [tensor("x", array, given)], outputs=wanted)
                told[way] = {
                    "sent": text(array),
                    "got": text(result.as_numpy("output-0")),
                    "output": {**result.get_output("output-0"), "data": None},
                }
    return told


@check
def bfloat(client: triton.InferenceServerClient, _: str) -> Any:
    array = np.array([[0.5, -2.0, 3e38]], ml_dtypes.bfloat16)
    result = client.infer("echo", [tensor("x", array)])
    return {
        "sent": array.astype(np.float32),
        "got": result.as_numpy("output-0").astype(np.float32),
        "datatype": result.get_output("output-0")["datatype"],
    }


@check
def any_bytes(client: triton.InferenceServerClient, _: str) -> Any:
    array = np.array([b"\xff\x00\xfe", b"", b"plain"], np.object_)
    return list(client.infer("echo", [tensor("x", array)]).as_numpy("output-0"))


@check
def empty(client: triton.InferenceServerClient, _: str) -> Any:
    result = client.infer("echo", [tensor("x", np.zeros((0, 4), np.float32))])
    return result.as_numpy("output-0").shape


@check
def mixed_outputs(client: triton.InferenceServerClient, _: str) -> Any:
    wanted = [
        triton.InferRequestedOutput("OUTPUT1", binary_data=False),
        triton.InferRequestedOutput("OUTPUT0", binary_data=True),
    ]
    result = client.infer("simple", pair(), outputs=wanted)
    return {
        "names": [one["name"] for one in result.get_response()["outputs"]],
        "in JSON": ["data" in one for one in result.get_response()["outputs"]],
        "sum": result.as_numpy("OUTPUT0"),
        "difference": result.as_numpy("OUTPUT1"),
    }


@check
def one_output(client: triton.InferenceServerClient, _: str) -> Any:
    result = client.infer("simple", pair(False), outputs=[triton.InferRequestedOutput("OUTPUT1")])
    return [one["name"] for one in result.get_response()["outputs"]]


@check
def told(client: triton.InferenceServerClient, _: str) -> Any:
    result = client.infer(
        "teller",
        [tensor("x", np.zeros((2, 3), np.float32))],
        request_id="one-7",
        parameters={"text": "a", "whole": 7, "yes": True, "part": 0.5},
        headers={"x-mine": "yours"},
        query_params={"a": "b"},
        priority=3,
        sequence_id=42,
        sequence_start=True,
    )
    return {"response": result.get_response(), "told": result.as_numpy("told")[0].decode()}


@check
def compression(client: triton.InferenceServerClient, _: str) -> Any:
    array = np.zeros((64, 64), np.float32)
    return {
        str((request, response)): client.infer(
            "echo",
            [tensor("x", array)],
            request_compression_algorithm=request,
            response_compression_algorithm=response,
        )
        .as_numpy("output-0")
        .shape
        for request in (None, "gzip", "deflate")
        for response in (None, "gzip", "deflate")
    }


@check
def side_by_side(_: triton.InferenceServerClient, address: str) -> Any:
    client = triton.InferenceServerClient(address, concurrency=8)
    arrays = [np.full((1, 4), number, np.float32) for number in range(40)]
    waiting = [
        client.async_infer("echo", [tensor("x", array)], request_id=str(number))
        for number, array in enumerate(arrays)
    ]
    results = [one.get_result(timeout=300) for one in waiting]
    client.close()
    return [
        (result.get_response()["id"], bool((result.as_numpy("output-0") == array).all()))
        for result, array in zip(results, arrays, strict=True)
    ]


@check
def asyncio_client(_: triton.InferenceServerClient, address: str) -> Any:
    async def work() -> Any:
        async with tritonclient.http.aio.InferenceServerClient(address) as client:
            results = await asyncio.gather(*(client.infer("simple", pair()) for _ in range(8)))
            return {
                "ready": await client.is_server_ready(),
                "sums": [int(result.as_numpy("OUTPUT0").sum()) for result in results],
            }

    return asyncio.run(work())


@check
def offline(_: triton.InferenceServerClient, address: str) -> Any:
    """The client's own way to build a body here and send it by other means."""
    import urllib.request

    body, length = triton.InferenceServerClient.generate_request_body(pair())
    headers = {"Inference-Header-Content-Length": str(length), "Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"http://{address}/v2/models/simple/infer", bytes(body), headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        split = response.headers["Inference-Header-Content-Length"]
        parse = triton.InferenceServerClient.parse_response_body
        result = parse(response.read(), header_length=int(split) if split else None)
    return result.as_numpy("OUTPUT0")


@check
def errors(client: triton.InferenceServerClient, _: str) -> Any:
    wide = np.zeros((1, 5), np.int32)
    floats = np.zeros((1, 16), np.float32)
    one = tensor("INPUT0", np.zeros((1, 16), np.int32))
    return {
        "unknown model": raised(client.infer, "nothing", pair()),
        "unknown version": raised(client.infer, "simple", pair(), model_version="9"),
        "wrong shape": raised(client.infer, "simple", [tensor("INPUT0", wide), tensor("INPUT1", wide)]),
        "wrong datatype": raised(
            client.infer, "simple", [tensor("INPUT0", floats), tensor("INPUT1", floats)]
        ),
        "missing input": raised(client.infer, "simple", [one]),
        "unknown input": raised(
            client.infer, "simple", [*pair(), tensor("INPUT2", np.zeros((1, 16), np.int32))]
        ),
        "unknown output": raised(
            client.infer, "simple", pair(), outputs=[triton.InferRequestedOutput("OUTPUT9")]
        ),
        "metadata of nothing": raised(client.get_model_metadata, "nothing"),
        "config of nothing": raised(client.get_model_config, "nothing"),
        "statistics of nothing": raised(client.get_inference_statistics, "nothing"),
        "shared memory": raised(client.get_system_shared_memory_status),
        "trace": raised(client.get_trace_settings),
        "log": raised(client.get_log_settings),
    }


if __name__ == "__main__":
    address = sys.argv[1]
    with triton.InferenceServerClient(address, network_timeout=300.0, connection_timeout=60.0) as client:
        run(client, address)
