"""The first prediction, made before a replica is ready, and compared with the one made where it was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from modelport.protocol.tensor import to_text
from modelport.server.arrays import ArrayExecutor
from modelport.server.loaded import RuntimeExecutor
from modelport.server.payload import PayloadExecutor
from modelport.server.runtime import LoadedModel, Settings
from modelport.server.saved import Saved, Tensor
from modelport.server.signature import Signature

if TYPE_CHECKING:
    from modelport._dataplane import Input, Output

RELATIVE = 1e-6
"""How much floats may differ: batching and other processors change the last bits."""
_ABSOLUTE = 1e-9


class WarmUp(NamedTuple):
    """How the first prediction went. Not `ok`: the model must not be served."""

    ok: bool
    text: str


def warm_up(
    model: LoadedModel | RuntimeExecutor | ArrayExecutor | PayloadExecutor,
    saved: Saved | None,
    signature: Signature | None = None,
) -> WarmUp:
    """Predicts the saved example. Without one, or for models that take payloads, nothing is done and all is well.

    Labels must agree exactly, floats to one in a million. `signature` is that of the example, if it is not in
    `saved`.
    """
    if isinstance(model, LoadedModel):
        model = RuntimeExecutor(model, Settings())
    if saved is None or saved.example is None:
        return WarmUp(True, "warm-up skipped: no example")
    if isinstance(model, PayloadExecutor) or (isinstance(model, ArrayExecutor) and model.takes_one):
        return WarmUp(True, "warm-up skipped: the model takes one request a call")
    signature = saved.signature or signature
    takes = {spec.name: spec.datatype for spec in signature.inputs} if signature else {}
    inputs = [to_input(tensor, takes.get(tensor.name, tensor.datatype)) for tensor in saved.example.inputs]
    try:
        outputs, _, _ = model.run(inputs, {}, {})
    except Exception as error:  # noqa: BLE001 - whatever the model raises
        return WarmUp(False, f"warm-up failed: {error}")
    if isinstance(model, RuntimeExecutor) and model.settings.predict_proba:
        return WarmUp(True, "warm-up ok (probabilities are served, labels were saved: not compared)")
    problem = _difference(outputs, saved.example.expected_outputs)
    if problem is None:
        return WarmUp(True, "warm-up ok")
    made = ", ".join(f"{name} {version}" for name, version in saved.libraries.items())
    return WarmUp(False, f"warm-up failed: {problem}" + (f" It was saved with {made}." if made else ""))


def to_input(tensor: Tensor, datatype: str) -> Input:
    """A saved tensor as the data plane gives it to an executor."""
    array = tensor.to_array()
    shape = tuple(tensor.shape)
    if datatype == "BYTES":
        data: Any = [text.encode() if isinstance(text, str) else text for text in to_text(array)]
        nulls = [index for index, text in enumerate(data) if text is None]
    else:
        data = bytearray(array.tobytes())
        nulls = [int(index) for index in np.flatnonzero(np.isnan(array))] if array.dtype.kind == "f" else []
    return tensor.name, tensor.datatype, shape, data, nulls or None


def _difference(outputs: list[Output], expected: list[Tensor]) -> str | None:
    """The first difference, in words."""
    got = {output[0]: output for output in outputs}
    for tensor in expected:
        if tensor.name not in got:
            return f"outputs: must have {tensor.name}, got {', '.join(got) or 'none'}."
        _, datatype, shape, data = got[tensor.name]
        if list(shape) != tensor.shape:
            return f"outputs.{tensor.name}: must have shape {tensor.shape}, got {list(shape)}."
        problem = _values_differ(data, datatype, tensor)
        if problem is not None:
            return problem
    return None


def _values_differ(data: object, datatype: str, tensor: Tensor) -> str | None:
    if (datatype == "BYTES") != (tensor.datatype == "BYTES"):
        return f"outputs.{tensor.name}: must be {tensor.datatype}, got {datatype}."
    if datatype == "BYTES":
        texts = [text.decode() if isinstance(text, bytes) else text for text in cast("list[Any]", data)]
        wrong = [
            index for index, (one, other) in enumerate(zip(texts, tensor.data, strict=True)) if one != other
        ]
        values: list[Any] = texts
    else:
        ours = np.asarray(cast("Any", data)).ravel()
        theirs = tensor.to_array().ravel()
        if "f" in (ours.dtype.kind, theirs.dtype.kind):
            same = np.isclose(ours, theirs, rtol=RELATIVE, atol=_ABSOLUTE, equal_nan=True)
        else:
            same = ours == theirs
        wrong = np.flatnonzero(~same).tolist()
        values = ours.tolist()
    if not wrong:
        return None
    place = [int(axis) for axis in np.unravel_index(wrong[0], tuple(tensor.shape))]
    return (
        f"outputs.{tensor.name}{place}: expected {tensor.data[wrong[0]]!r}, got {values[wrong[0]]!r} "
        f"({len(wrong)} of {len(values)} values differ)."
    )
