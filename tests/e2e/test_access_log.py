"""What an operator reads of a request in the server's log, whichever protocol it came by."""

import json
from pathlib import Path

import grpc
from process import serving

MODELS = Path(__file__).parents[1] / "conformance" / "models.py"


def field(number: int, text: str) -> bytes:
    """A protobuf message's field of text."""
    return bytes([number << 3 | 2, len(text)]) + text.encode()


def test_a_line_of_a_grpc_call_names_what_one_of_rest_names() -> None:
    """Else who looks for a model's requests, or for one by its id, finds those of REST alone."""
    long = "x" * 100
    calls = [
        ("ModelInfer", field(1, "echo"), "echo"),
        ("ModelInfer", field(1, long), long),
        ("ModelReady", field(1, "echo"), "echo"),
        ("ModelMetadata", field(1, "echo"), "echo"),
        ("ModelConfig", field(1, "echo"), "echo"),
        ("ModelStatistics", field(1, "echo"), "echo"),
        ("RepositoryModelLoad", field(1, "none"), "none"),
        ("RepositoryModelUnload", field(2, "none"), "none"),
        ("ServerReady", b"", None),
    ]
    expected, answered = {"rest": "echo"}, {}
    with serving(f"--model=echo={MODELS}:Echo", "--access-log") as server:
        server.ask("/v2/models/echo", headers={"X-Request-Id": "rest"})
        address = next(line.split()[1] for line in server.stdout.splitlines() if line.startswith("gRPC"))
        with grpc.insecure_channel(address) as channel:
            for number, (method, message, model) in enumerate(calls):
                call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}").future(
                    message, metadata=[("x-request-id", f"r-{number}")], timeout=60
                )
                code = call.code().value[0]  # waits
                told = dict([*call.initial_metadata(), *call.trailing_metadata()])
                expected[f"r-{number}"], answered[f"r-{number}"] = model, code
                assert told["x-request-id"] == f"r-{number}", (method, told)
    lines = [json.loads(line) for line in server.stderr.splitlines() if line.startswith('{"time"')]
    assert {line["request_id"]: line.get("model") for line in lines} == expected
    assert {line["request_id"]: line.get("grpc_status") for line in lines} == {"rest": None} | answered
