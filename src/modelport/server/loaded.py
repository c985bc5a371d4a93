"""Models that a runtime has loaded, as the data plane calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InvalidInput, Unimplemented
from modelport.protocol.tensor import to_bits, to_outputs
from modelport.server.failure import to_serve_error
from modelport.server.runtime import LoadedModel, Settings, Unusable
from modelport.server.signature import Signature

if TYPE_CHECKING:
    from modelport._dataplane import Input, Output, Outputs, Parameters, Reply, Request

_JSON_DATATYPES = frozenset(("FP64", "INT64", "BOOL", "BYTES"))
"""What V1's untyped numbers and strings become; `run` is not told the protocol."""

Fit = Callable[[list["Input"]], Mapping[str, Array]]


class RuntimeExecutor:
    """Predicts batches with a loaded model: inputs are fitted to its signature, outputs passed on."""

    def __init__(
        self, loaded: LoadedModel, settings: Settings, on_unusable: Callable[[], None] | None = None
    ) -> None:
        self.loaded = loaded
        self.settings = settings
        self._on_unusable = on_unusable
        self._bf16 = {spec.name for spec in loaded.signature.outputs if spec.datatype == "BF16"}
        self._fit = fitting(loaded.signature, loaded.accepts_missing)

    def run(self, inputs: list[Input], parameters: Parameters, headers: dict[str, str]) -> Outputs:
        """Predicts the joined rows of one or more requests."""
        try:
            outputs = to_outputs(self.loaded.predict(self._fit(inputs), parameters))
            if self._bf16:
                outputs = [self._as_bf16(output) for output in outputs]
            return outputs, None, None
        except Exception as error:
            if isinstance(error, Unusable) and self._on_unusable is not None:
                self._on_unusable()
            raise to_serve_error(error, self.settings.name) from error

    def _as_bf16(self, output: Output) -> Output:
        # NumPy has no BF16, so a runtime gives its bits, which only the signature tells from UINT16.
        name, datatype, shape, data = output
        return (name, "BF16", shape, data) if name in self._bf16 and datatype == "UINT16" else output

    def handle(self, request: Request, reply: Reply) -> None:
        """Nothing comes this way: a loaded model predicts tensors and explains nothing."""
        told = Unimplemented(f"Model {self.settings.name} cannot {request.verb} a payload of its own.")
        reply.fail(told.status, str(told))


def fitting(signature: Signature, accepts_missing: bool) -> Fit:
    """The function that fits a request's tensors to a signature, or raises InvalidInput."""
    from modelport.server import columns, tensors
    from modelport.server.given import Given

    def given(inputs: list[Input]) -> list[Given]:
        return [Given(one[0], one[1], to_bits(one), one[4]) for one in inputs]

    dtypes, width = columns.plain(signature)

    def arranged(inputs: list[Input]) -> Mapping[str, Array]:
        if len(inputs) == 1:  # the hot path: a matrix of numbers, as `columns.arrange` would pass it on
            _, datatype, shape, data, nulls = inputs[0]
            dtype = dtypes.get(datatype)
            if dtype is not None and not nulls and len(shape) == 2 and shape[1] == width and shape[0]:
                return {"": np.ndarray(shape, dtype, cast("Any", data))}
        if inputs and inputs[0][2][:1] == (0,):
            raise InvalidInput(f"inputs[0].shape: has no rows, got {list(inputs[0][2])}. Send at least one.")
        return columns.arrange(given(inputs), signature, accepts_missing)

    if signature.kind == "columns":
        return arranged
    return lambda inputs: tensors.check(
        given(inputs),
        signature,
        all(one[1] in _JSON_DATATYPES for one in inputs),
        accepts_missing=accepts_missing,
    )
