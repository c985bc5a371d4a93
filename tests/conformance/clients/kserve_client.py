"""The kserve SDK's inference clients, as its users write them. Arguments: REST address, gRPC host:port."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import numpy as np
from every import ARRAYS, text
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    InferResponse,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput
from tell import check, run

IRIS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]


def pair(binary: bool) -> list[InferInput]:
    one, other = InferInput("INPUT0", [1, 16], "INT32"), InferInput("INPUT1", [1, 16], "INT32")
    one.set_data_from_numpy(np.arange(16, dtype=np.int32).reshape(1, 16), binary_data=binary)
    other.set_data_from_numpy(np.ones((1, 16), np.int32), binary_data=binary)
    return [one, other]


def shown(response: InferResponse) -> dict[str, Any]:
    return {
        "id": response.id,
        "model": response.model_name,
        "outputs": {one.name: [one.datatype, list(one.shape), one.as_numpy()] for one in response.outputs},
    }


async def raised(awaited: Any) -> dict[str, str]:
    try:
        return {"returned": repr(await awaited)}
    except Exception as error:  # noqa: BLE001 - told
        details = getattr(error, "details", None)
        text = details() if callable(details) else str(error)
        code = error.code().name if hasattr(error, "code") else ""
        return {"kind": type(error).__name__, "text": text, "code": code}


def asked(function: Any) -> Any:
    """A check that is a coroutine."""

    def waited(*arguments: Any) -> Any:
        return asyncio.run(function(*arguments))

    waited.__name__ = function.__name__
    check(waited)
    return function


def rest_client(protocol: str) -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol=protocol, timeout=300))


@asked
async def v1(rest: str, _: str) -> Any:
    async with rest_client("v1") as client:
        headers: dict[str, str] = {}
        return {
            "live": await client.is_server_live(rest),
            "iris": await client.is_model_ready(rest, "iris"),
            "predict": await client.infer(rest, {"instances": IRIS}, model_name="iris"),
            "teller": await client.infer(
                rest,
                {"instances": IRIS},
                model_name="teller",
                headers={"x-mine": "yours"},
                response_headers=headers,
            ),
            "headers": headers,
            "explain": await client.explain(rest, model_name="teller", data={"instances": IRIS}),
            "not a list": await raised(client.infer(rest, {"instances": 7}, model_name="iris")),
            "no instances": await raised(client.infer(rest, {"rows": []}, model_name="iris")),
            "nothing": await raised(client.infer(rest, {"instances": IRIS}, model_name="nothing")),
            "nothing ready": await raised(client.is_model_ready(rest, "nothing")),
            "no explainer": await raised(client.explain(rest, model_name="iris", data={"instances": IRIS})),
        }


@asked
async def v2(rest: str, _: str) -> Any:
    told: dict[str, Any] = {}
    async with rest_client("v2") as client:
        told["live"] = await client.is_server_live(rest)
        told["ready"] = await client.is_server_ready(rest)
        told["simple"] = await client.is_model_ready(rest, "simple")
        told["nothing"] = await client.is_model_ready(rest, "nothing")
        for way, binary in (("JSON", False), ("binary", True)):
            for asked_for in ("", "JSON", "binary"):
                outputs = (
                    [RequestedOutput("OUTPUT0", {"binary_data": asked_for == "binary"})]
                    if asked_for
                    else None
                )
                request = InferRequest("simple", pair(binary), request_id="one-7", request_outputs=outputs)
                told[f"{way} to {asked_for or 'default'}"] = shown(
                    await client.infer(rest, request, model_name="simple")
                )
        request = InferRequest("simple", pair(True), parameters={"binary_data_output": True})
        told["binary_data_output"] = shown(await client.infer(rest, request, model_name="simple"))
        lone = InferInput("x", [2, 3], "FP32")
        lone.set_data_from_numpy(np.zeros((2, 3), np.float32))
        lone.parameters = {**lone.parameters, "own": "1"}
        request = InferRequest("teller", [lone], request_id="one-7", parameters={"whole": 7, "text": "a"})
        answer = await client.infer(rest, request, model_name="teller", headers={"x-mine": "yours"})
        told["teller"] = json.loads(answer.outputs[0].as_numpy()[0])
        request = InferRequest("simple", pair(False)[:1])
        told["missing input"] = await raised(client.infer(rest, request, model_name="simple"))
        request = InferRequest("nothing", pair(False))
        told["unknown model"] = await raised(client.infer(rest, request, model_name="nothing"))
        request = InferRequest("simple", pair(False), request_outputs=[RequestedOutput("OUTPUT9")])
        told["unknown output"] = await raised(client.infer(rest, request, model_name="simple"))
    return told


@asked
async def datatypes(rest: str, grpc: str) -> Any:
    told: dict[str, Any] = {}
    async with rest_client("v2") as client, InferenceGRPCClient(grpc, timeout=300) as grpc_client:
        for datatype, array in ARRAYS.items():
            for way, binary in (("JSON", False), ("binary", True), ("gRPC", True), ("gRPC typed", False)):
                if datatype == "FP16" and not binary:
                    continue  # the SDK refuses: FP16 must be sent as binary
                given = InferInput("x", list(array.shape), datatype)
                given.set_data_from_numpy(array, binary_data=binary)
                request = InferRequest("echo", [given])
                answer = (
                    await grpc_client.infer(request)
                    if way.startswith("gRPC")
                    else await client.infer(rest, request, model_name="echo")
                )
                output = answer.outputs[0]
                told[f"{datatype} {way}"] = {
                    "sent": text(array),
                    "got": text(output.as_numpy()),
                    "datatype": output.datatype,
                    "shape": list(output.shape),
                }
    return told


@asked
async def grpc(_: str, address: str) -> Any:
    told: dict[str, Any] = {}
    async with InferenceGRPCClient(address, timeout=300) as client:
        told["live"] = await client.is_server_live()
        told["ready"] = await client.is_server_ready()
        told["simple"] = await client.is_model_ready("simple")
        told["nothing"] = await raised(client.is_model_ready("nothing"))
        for way, binary in (("typed", False), ("raw", True)):
            request = InferRequest("simple", pair(binary), request_id="one-7")
            told[way] = shown(await client.infer(request))
        lone = InferInput("x", [2, 3], "FP32")
        lone.set_data_from_numpy(np.zeros((2, 3), np.float32))
        request = InferRequest("teller", [lone], request_id="one-7", parameters={"whole": 7, "text": "a"})
        answer = await client.infer(request, headers=(("x-mine", "yours"),))
        told["teller"] = json.loads(answer.outputs[0].as_numpy()[0])
        told["missing input"] = await raised(client.infer(InferRequest("simple", pair(True)[:1])))
        told["unknown model"] = await raised(client.infer(InferRequest("nothing", pair(True))))
    return told


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    run(*sys.argv[1:])
