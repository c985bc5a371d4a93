"""Bodies that a model would answer, made from its signature where nobody has saved an example."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any
from urllib.parse import quote

from modelport.server.signature import Signature, TensorSpec

MOST_ELEMENTS = 64
"""A larger example helps nobody."""


def from_signature(signature: Signature) -> tuple[Any, Any] | None:
    """A V1 and a V2 body of one row with zeros and first categories; None where the signature says too little."""
    if not signature.inputs or any(_elements(spec) > MOST_ELEMENTS for spec in signature.inputs):
        return None
    v2 = {
        "inputs": [
            {
                "name": spec.name,
                "shape": shape(spec),
                "datatype": spec.datatype,
                "data": [value(spec)] * _elements(spec),
            }
            for spec in signature.inputs
        ]
    }
    if any(spec.datatype in ("FP16", "BF16") for spec in signature.inputs):
        return None
    if len(signature.inputs) == 1 and (signature.kind == "tensors" or len(signature.inputs[0].shape) > 1):
        spec = signature.inputs[0]
        return {"instances": [_nested(value(spec), shape(spec)[1:])]}, v2
    v1_row = {spec.name: _nested(value(spec), shape(spec)[1:]) for spec in signature.inputs}
    return {"instances": [v1_row]}, v2


def value(spec: TensorSpec) -> Any:
    """A value that the input takes: its first category, or a zero of its datatype."""
    if spec.categories:
        return spec.categories[0]
    if spec.datatype == "BYTES":
        return "text"
    if spec.datatype == "BOOL":
        return False
    return 0.0 if spec.datatype.startswith(("FP", "BF")) else 0


def shape(spec: TensorSpec) -> list[int]:
    """The input's shape with 1 for every axis of any length."""
    return [1 if axis < 0 else axis for axis in spec.shape]


def first_row(body: Any) -> Any:
    """A V1 body with its first row alone."""
    return {"instances": body["instances"][:1]} if "instances" in body else body


def curl(address: str, name: str, body: Any) -> str:
    """A command line that asks the model, ready to paste into a shell."""
    return f"curl {address}/v1/models/{quote(name, safe='')}:predict -d {shlex.quote(json.dumps(body))}"


def _elements(spec: TensorSpec) -> int:
    return math.prod(shape(spec))


def _nested(element: Any, axes: list[int]) -> Any:
    for axis in reversed(axes):
        element = [element] * axis
    return element
