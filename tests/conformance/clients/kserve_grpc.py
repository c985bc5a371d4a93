"""Asks the custom predictor by gRPC, in the SDK's own types. Argument: host:port."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve_client import raised
from tell import CHECKS, check, run

CHECKS.clear()
ROWS = np.array([[1.0, 2.0, 3.5], [4.0, 5.0, 6.0]], np.float32)


def given(name: str, array: np.ndarray, datatype: str, raw: bool) -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=raw)
    return tensor


def shown(response: Any) -> dict[str, Any]:
    return {
        "id": response.id,
        "model": response.model_name,
        "parameters": {name: str(value).strip() for name, value in (response.parameters or {}).items()},
        "outputs": {one.name: [one.datatype, list(one.shape), one.as_numpy()] for one in response.outputs},
    }


@check
def all_of_it(address: str) -> Any:
    async def work() -> dict[str, Any]:
        told: dict[str, Any] = {}
        async with InferenceGRPCClient(address, timeout=300) as client:

            async def infer(model: str, *tensors: InferInput, fail: str = "") -> Any:
                request = InferRequest(model, list(tensors), request_id="one-7", parameters={"text": "a"})
                return await client.infer(request, headers=(("x-fail", fail),))

            told["ready"] = await client.is_model_ready("scorer")
            for way, raw in (("typed", False), ("raw", True)):
                told[way] = shown(await infer("scorer", given("x", ROWS, "FP32", raw)))
                small = given("n", np.array([1, 255], np.uint8), "UINT8", raw)
                seen = await infer("teller", small, given("y", ROWS.astype(np.float64), "FP64", raw))
                told[f"{way}, seen"] = json.loads(seen.outputs[0].as_numpy()[0])
                text = given("t", np.array(["Oslo", "東京"], np.object_), "BYTES", raw)
                told[f"{way}, text"] = json.loads((await infer("teller", text)).outputs[0].as_numpy()[0])
            floats = given("x", ROWS, "FP32", True)
            told["InvalidInput"] = await raised(infer("scorer", floats, fail="input"))
            told["nothing"] = await raised(infer("nothing", floats))
            told["InferenceError"] = await raised(infer("scorer", floats, fail="inference"))
            told["ValueError"] = await raised(infer("scorer", floats, fail="value"))
        return told

    return asyncio.run(work())


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    run(*sys.argv[1:])
