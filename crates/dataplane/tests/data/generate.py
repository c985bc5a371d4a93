"""Regenerate the request bodies here with NVIDIA's tritonclient, as a judge that is not us.

    pip install 'tritonclient[http]' numpy ml_dtypes
    python generate.py

Every case writes NAME.body; those with raw tensors start with JSON of the length in `lengths.txt`.
"""

from pathlib import Path

import ml_dtypes
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

HERE = Path(__file__).parent
FIXED = {
    "BOOL": np.array([[True, False, True], [False, False, True]]),
    "UINT8": np.array([[0, 1, 255], [7, 8, 9]], np.uint8),
    "UINT16": np.array([[0, 1, 65535], [7, 8, 9]], np.uint16),
    "UINT32": np.array([[0, 1, 4294967295], [7, 8, 9]], np.uint32),
    "UINT64": np.array([[0, 1, 18446744073709551615], [7, 8, 9]], np.uint64),
    "INT8": np.array([[-128, 127, 0], [7, 8, 9]], np.int8),
    "INT16": np.array([[-32768, 32767, 0], [7, 8, 9]], np.int16),
    "INT32": np.array([[-2147483648, 2147483647, 0], [7, 8, 9]], np.int32),
    "INT64": np.array([[-9223372036854775808, 9223372036854775807, 0], [7, 8, 9]], np.int64),
    "FP16": np.array([[0.5, -1.25, 65504.0], [7, 8, 9]], np.float16),
    "FP32": np.array([[0.1, -1.25, 3.4e38], [7, 8, 9]], np.float32),
    "FP64": np.array([[0.1, -1.25, 1.7e308], [7, 8, 9]], np.float64),
    "BYTES": np.array([["a", "", "ä ✓"], ["d\"\\\n", "e", "fff"]], dtype=np.object_),
}


def tensor(name, datatype, array, binary):
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def main():
    cases = {}
    for datatype, array in FIXED.items():
        cases[f"{datatype}-binary"] = ([tensor("x", datatype, array, True)], {})
        if datatype != "FP16":  # tritonclient has no JSON for it
            cases[f"{datatype}-json"] = ([tensor("x", datatype, array, False)], {})
    brain = np.array([[0.5, -1.25, 3.0], [7, 8, 9]], ml_dtypes.bfloat16)
    cases["BF16-binary"] = ([tensor("x", "BF16", brain, True)], {})
    raw = np.array([[b"\xff\x00\xfe"], [b""]], dtype=np.object_)
    cases["several"] = (
        [
            tensor("first", "FP32", FIXED["FP32"], True),
            tensor("second", "INT64", FIXED["INT64"], False),
            tensor("third", "BYTES", raw, True),
            tensor("empty", "INT32", np.zeros((0, 4), np.int32), True),
        ],
        {
            "outputs": [
                InferRequestedOutput("label", binary_data=False, class_count=2),
                InferRequestedOutput("score", binary_data=True),
            ],
            "request_id": "abc-1",
            "priority": 3,
            "timeout": 1000,
            "parameters": {"temperature": 0.5, "greedy": True, "who": "me"},
        },
    )
    lengths = []
    for name, (inputs, options) in cases.items():
        body, length = InferenceServerClient.generate_request_body(inputs, **options)
        (HERE / f"{name}.body").write_bytes(body if isinstance(body, bytes) else body.encode())
        lengths.append(f"{name} {'-' if length is None else length}\n")
    (HERE / "lengths.txt").write_text("".join(lengths))


if __name__ == "__main__":
    main()
