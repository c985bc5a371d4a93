"""What the clients ask. Served by name: `modelport serve --model echo=models.py:Echo`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

import modelport
from modelport import InferOutput, InferRequest, InferResponse
from modelport.server.signature import Signature, TensorSpec


class Echo(modelport.Model):
    """Gives back what it gets, whatever it is."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x


class Simple(modelport.Model):
    """Sum and difference of two tensors: the model of Triton's own examples."""

    signature = Signature(
        inputs=(TensorSpec("INPUT0", "INT32", (-1, 16)), TensorSpec("INPUT1", "INT32", (-1, 16))),
        outputs=(TensorSpec("OUTPUT0", "INT32", (-1, 16)), TensorSpec("OUTPUT1", "INT32", (-1, 16))),
    )

    def predict(self, INPUT0: NDArray[np.int32], INPUT1: NDArray[np.int32]) -> dict[str, np.ndarray]:  # noqa: N803
        return {"OUTPUT0": INPUT0 + INPUT1, "OUTPUT1": INPUT0 - INPUT1}


class Teller(modelport.Model):
    """Tells what reached it: id, parameters, headers and inputs, as JSON in one text tensor."""

    def __init__(self, name: str) -> None:
        super().__init__(name, return_response_headers=True)

    def predict(self, payload: Any, headers: dict[str, str], response_headers: dict[str, str]) -> Any:
        response_headers["x-told"] = "yes"
        given = {name: value for name, value in headers.items() if name.startswith("x-")}
        if not isinstance(payload, InferRequest):
            return {"predictions": [len(payload["instances"])], "headers": given}
        told = {
            "id": payload.id,
            "parameters": payload.parameters,
            "headers": given,
            "inputs": {one.name: [one.datatype, list(one.shape), one.parameters] for one in payload.inputs},
            "outputs": [one.name for one in payload.request_outputs or ()],
        }
        output = InferOutput("told", [1], "BYTES", [json.dumps(told)])
        return InferResponse(payload.id, self.name, [output])

    def explain(self, payload: Any, headers: dict[str, str]) -> Any:
        return {"explanations": [f"row {index}" for index in range(len(payload["instances"]))]}
