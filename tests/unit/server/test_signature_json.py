"""What the data plane is told of a model: it has no defaults for tensors."""

import msgspec

from modelport.server.signature import TensorSpec


def test_a_columns_shape_is_always_written():
    """A model of named columns without a saved signature could not be served, had it relied on a default."""
    assert msgspec.json.decode(msgspec.json.encode(TensorSpec("age", "FP64")))["shape"] == [-1]
    assert TensorSpec("age", "FP64") == TensorSpec("age", "FP64", (-1,))
