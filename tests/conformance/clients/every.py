"""A small tensor of every datatype, with its extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

ARRAYS: dict[str, np.ndarray] = {
    "BOOL": np.array([[True, False, True], [False, False, True]]),
    "INT8": np.array([[-128, 0, 127], [1, 2, 3]], np.int8),
    "INT16": np.array([[-32768, 0, 32767], [1, 2, 3]], np.int16),
    "INT32": np.array([[-(2**31), 0, 2**31 - 1], [1, 2, 3]], np.int32),
    "INT64": np.array([[-(2**63), 0, 2**63 - 1], [1, 2, 3]], np.int64),
    "UINT8": np.array([[0, 128, 255], [1, 2, 3]], np.uint8),
    "UINT16": np.array([[0, 1, 65535], [1, 2, 3]], np.uint16),
    "UINT32": np.array([[0, 1, 2**32 - 1], [1, 2, 3]], np.uint32),
    "UINT64": np.array([[0, 1, 2**64 - 1], [1, 2, 3]], np.uint64),
    "FP16": np.array([[0.5, -2.25, 65504], [1, 2, 3]], np.float16),
    "FP32": np.array([[0.1, -1e30, 3.4e38], [1, 2, 3]], np.float32),
    "FP64": np.array([[0.1, -1e300, 1.7e308], [1, 2, 3]], np.float64),
    "BYTES": np.array([["Oslo", "", "東京"], ["a", "b", "c"]], np.object_),
}


def text(array: np.ndarray) -> list[Any]:
    """The elements in order; text as str, whichever way the client has it."""
    return [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]
