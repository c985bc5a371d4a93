"""tritonclient's gRPC client, as its users write it. Argument: host:port."""

from __future__ import annotations

import asyncio
import queue
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from every import ARRAYS, text
from tell import check, raised, run
from tritonclient.utils import np_to_triton_dtype


def tensor(name: str, array: np.ndarray) -> triton.InferInput:
    given = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def pair(first: int = 0) -> list[triton.InferInput]:
    one = np.arange(first, first + 16, dtype=np.int32).reshape(1, 16)
    return [tensor("INPUT0", one), tensor("INPUT1", np.ones((1, 16), np.int32))]


@check
def health(client: triton.InferenceServerClient, _: str) -> Any:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "simple": client.is_model_ready("simple"),
        "nothing": raised(client.is_model_ready, "nothing"),
    }


@check
def metadata(client: triton.InferenceServerClient, _: str) -> Any:
    return {
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("simple", as_json=True),
        "config": client.get_model_config("simple", as_json=True)["config"],
    }


@check
def repository(client: triton.InferenceServerClient, _: str) -> Any:
    def states() -> dict[str, str]:
        return {one.name: one.state for one in client.get_model_repository_index().models}

    before = states()
    client.unload_model("iris")
    unloaded = states(), raised(client.is_model_ready, "iris")["text"]
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
    one = client.get_inference_statistics("simple", as_json=True)["model_stats"][0]
    everything = client.get_inference_statistics().model_stats
    return {"one": one, "all": sorted(each.name for each in everything)}


@check
def datatypes(client: triton.InferenceServerClient, _: str) -> Any:
    told: dict[str, Any] = {}
    for datatype, array in ARRAYS.items():
        result = client.infer("echo", [tensor("x", array)])
        output = result.get_output("output-0")
        told[datatype] = {
            "sent": text(array),
            "got": text(result.as_numpy("output-0")),
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
    return told


@check
def bfloat(client: triton.InferenceServerClient, _: str) -> Any:
    array = np.array([[0.5, -2.0, 3e38]], ml_dtypes.bfloat16)
    result = client.infer("echo", [tensor("x", array)])
    return {
        "sent": array.astype(np.float32),
        "got": result.as_numpy("output-0").astype(np.float32),
        "datatype": result.get_output("output-0").datatype,
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
def requested_outputs(client: triton.InferenceServerClient, _: str) -> Any:
    def names(*wanted: str) -> list[str]:
        outputs = [triton.InferRequestedOutput(name) for name in wanted]
        return [one.name for one in client.infer("simple", pair(), outputs=outputs).get_response().outputs]

    return [names(), names("OUTPUT1"), names("OUTPUT1", "OUTPUT0")]


@check
def told(client: triton.InferenceServerClient, _: str) -> Any:
    result = client.infer(
        "teller",
        [tensor("x", np.zeros((2, 3), np.float32))],
        request_id="one-7",
        parameters={"text": "a", "whole": 7, "yes": True, "part": 0.5},
        headers={"x-mine": "yours"},
        priority=3,
        sequence_id=42,
        sequence_start=True,
    )
    return {"response": result.get_response(as_json=True), "told": result.as_numpy("told")[0].decode()}


@check
def compression(client: triton.InferenceServerClient, _: str) -> Any:
    array = np.zeros((64, 64), np.float32)
    return {
        str(algorithm): client.infer("echo", [tensor("x", array)], compression_algorithm=algorithm)
        .as_numpy("output-0")
        .shape
        for algorithm in (None, "gzip", "deflate")
    }


@check
def side_by_side(client: triton.InferenceServerClient, _: str) -> Any:
    answered: queue.Queue[Any] = queue.Queue()
    for number in range(40):
        array = np.full((1, 4), number, np.float32)
        client.async_infer(
            "echo",
            [tensor("x", array)],
            request_id=str(number),
            callback=lambda result, error: answered.put((result, error)),
        )
    told: dict[str, float] = {}
    for _number in range(40):
        result, error = answered.get(timeout=300)
        if error is not None:
            raise error
        told[result.get_response().id] = float(result.as_numpy("output-0")[0, 0])
    return told


@check
def stream(client: triton.InferenceServerClient, _: str) -> Any:
    """One stream for many requests; a bad one among them is answered and the stream goes on."""
    answered: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answered.put((result, error)))
    for number in range(20):
        client.async_stream_infer("simple", pair(number), request_id=str(number))
    bad = np.zeros((1, 5), np.int32)
    client.async_stream_infer("simple", [tensor("INPUT0", bad), tensor("INPUT1", bad)], request_id="bad")
    client.async_stream_infer("nothing", pair(), request_id="lost")
    client.async_stream_infer("simple", pair(100), request_id="last")
    sums: dict[str, int] = {}
    failed: list[str] = []
    for _number in range(23):
        result, error = answered.get(timeout=300)
        if error is None:
            sums[result.get_response().id] = int(result.as_numpy("OUTPUT0").sum())
        else:
            failed.append(f"{type(error).__name__}: {error}")
    client.stop_stream()
    return {"sums": sums, "failed": sorted(failed)}


@check
def asyncio_client(_: triton.InferenceServerClient, address: str) -> Any:
    async def work() -> Any:
        async with tritonclient.grpc.aio.InferenceServerClient(address) as client:

            async def requests() -> Any:
                for number in range(4):
                    yield {"model_name": "simple", "inputs": pair(number), "request_id": str(number)}

            streamed: dict[str, int] = {}
            async for result, error in client.stream_infer(requests()):
                if error is not None:
                    raise error
                streamed[result.get_response().id] = int(result.as_numpy("OUTPUT0").sum())
            return {"ready": await client.is_server_ready(), "streamed": streamed}

    return asyncio.run(work())


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
    }


if __name__ == "__main__":
    address = sys.argv[1]
    with triton.InferenceServerClient(address) as client:
        run(client, address)
