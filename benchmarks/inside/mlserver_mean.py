"""MLServer's model for the tensor workload."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Mean(MLModel):
    """The mean of each item."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One number an item."""
        x = NumpyCodec.decode_input(payload.inputs[0])
        mean = x.mean(axis=tuple(range(1, x.ndim)))
        output = NumpyCodec.encode_output("output-0", mean)
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
