"""Runs in the clients' environment: gRPC messages from and to files.

`grpc_message.py encode REQUEST.json MODEL OUT` writes the encoded ModelInferRequest, its data as
raw bytes. `grpc_message.py ask HOST:PORT MESSAGE PART` sends it, prints the first output's first
value as JSON and writes the bytes of the answer that carry it to PART.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

NUMPY = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}
# Field 5 of InferOutputTensor, field 6 of ModelInferResponse.
CONTENTS, RAW_OUTPUT_CONTENTS = 5, 6
LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def encode(request: Path, model: str, out: Path) -> None:
    """JSON to a message."""
    body = json.loads(request.read_text())
    message = service_pb2.ModelInferRequest(model_name=model, id=body["id"])
    for name, value in body.get("parameters", {}).items():
        message.parameters[name].string_param = value
    for tensor in body["inputs"]:
        datatype, data = tensor["datatype"], tensor["data"]
        message.inputs.add(name=tensor["name"], datatype=datatype, shape=tensor["shape"])
        if datatype == "BYTES":
            items = [item.encode() for item in data]
            raw = b"".join(struct.pack("<I", len(item)) + item for item in items)
        else:
            raw = np.array(data, dtype=NUMPY[datatype]).tobytes()
        message.raw_input_contents.append(raw)
    out.write_bytes(message.SerializeToString())


def ask(address: str, message: Path, part: Path) -> None:
    """Sends a message and shows what came."""
    request = service_pb2.ModelInferRequest.FromString(message.read_bytes())
    with grpc.insecure_channel(address, options=LIMIT) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, timeout=30, wait_for_ready=True)
    output = answer.outputs[0]
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[0]
        value = np.frombuffer(raw, dtype=NUMPY[output.datatype])[0].item()
        part.write_bytes(field(RAW_OUTPUT_CONTENTS, raw))
    else:
        contents = output.contents
        value = next(value[0] for _, value in contents.ListFields())
        part.write_bytes(field(CONTENTS, contents.SerializeToString()))
    sys.stdout.write(json.dumps(value))


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a message, as it is in the answer's bytes."""
    length = len(value)
    if length > 127:  # one byte of varint is enough for this benchmark's answers
        raise SystemExit("error: the answer is longer than one number")
    return bytes([number << 3 | 2, length]) + value


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "encode":
        encode(Path(rest[0]), rest[1], Path(rest[2]))
    else:
        ask(rest[0], Path(rest[1]), Path(rest[2]))
