"""Open Inference Protocol datatypes and NumPy's."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
"""A NumPy array of any dtype."""

_NUMPY: Final[dict[str, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_NAME: Final[dict[np.dtype[np.generic], str]] = {dtype: name for name, dtype in _NUMPY.items()}

DATATYPES: Final[tuple[str, ...]] = (*_NUMPY, "BF16")
"""Every datatype of the protocol."""


def numpy_dtype(datatype: str) -> np.dtype[np.generic]:
    """The NumPy dtype of a datatype.

    `BYTES` is `object`. NumPy has no BF16: it travels as the raw 16 bits (`uint16`); see `bf16_to_fp32`.
    Raises ValueError for an unknown name.
    """
    if datatype == "BF16":
        return np.dtype("<u2")
    try:
        return _NUMPY[datatype]
    except KeyError:
        raise ValueError(f"datatype: must be one of {', '.join(DATATYPES)}, got {datatype!r}.") from None


def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """The datatype that carries a NumPy dtype; strings, dates and objects travel as BYTES.

    Raises ValueError for dtypes that have none (complex numbers, long doubles, records).
    """
    if name := _NAME.get(dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype):
        return name
    if dtype.kind in "OSUMm":
        return "BYTES"
    raise ValueError(f"dtype: {dtype} has no datatype in the protocol. Convert it, for example to float64.")


def bf16_to_fp32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """BF16 as raw bits (`uint16`) to float32, exactly: BF16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
