"""Sends 64 kinds of malformed V1 and V2 requests and shows what a server makes of them.

    python benchmarks/bad_input.py http://127.0.0.1:8080 iris

The model must take one FP32 tensor of four columns, as a classifier of iris does. A right answer is
a 4xx whose body is {"error": "…"} (where the HTTP itself is broken, any 4xx or a closed connection),
and a server that still answers afterwards. Exit code 1: a 5xx, or a server that went away; with
--strict: any answer that is not right.

Only the standard library, and raw sockets: http.client would refuse to send some of these.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
GIGABYTE = 1_000_000_000
DEEP = 100_000
OK, CLIENT_ERROR, SERVER_ERROR = 200, 400, 500
CLOSED, SILENT = 0, -1  # statuses of our own: closed without an answer, no answer in time


@dataclass(frozen=True)
class Case:
    """One malformed request."""

    name: str
    path: str  # with {model}
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    # The HTTP itself is broken: the server's HTTP library answers, not the inference protocol.
    broken_http: bool = False
    raw: bytes | None = None  # sent instead, with {authority} and {path} filled in
    half_close: bool = False  # no more bytes come after these


@dataclass(frozen=True)
class Result:
    """What the server made of a case."""

    case: Case
    status: int
    body: bytes
    alive: bool

    @property
    def is_server_error(self) -> bool:
        """Whether the server blames itself."""
        return self.status >= SERVER_ERROR

    @property
    def has_error_body(self) -> bool:
        """Whether the body is the protocols' {"error": "…"}."""
        try:
            body = json.loads(self.body)
        except ValueError:
            return False
        return isinstance(body, dict) and isinstance(body.get("error"), str) and body["error"] != ""

    @property
    def is_right(self) -> bool:
        """A 4xx that says what is wrong, from a server that goes on."""
        refused = CLIENT_ERROR <= self.status < SERVER_ERROR
        if self.case.broken_http:
            return self.alive and (refused or self.status == CLOSED)
        return self.alive and refused and self.has_error_body

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        if not self.alive:
            return "gone"
        if self.is_right:
            return "right"
        if self.is_server_error:
            return "5xx"
        if self.status in (SILENT, CLOSED):
            return "silent"
        return "bare" if CLIENT_ERROR <= self.status < SERVER_ERROR else "accepted"

    def __str__(self) -> str:
        status = {CLOSED: "closed", SILENT: "-"}.get(self.status, str(self.status))
        error = "error body" if self.has_error_body else "-"
        alive = "alive" if self.alive else "GONE"
        return f"{self.verdict:8}  {status:6}  {error:10}  {alive:5}  {self.case.name}"


VERDICTS = {
    "right": "right",
    "bare": 'refused with a 4xx, but without {"error"}',
    "accepted": "accepted",
    "5xx": "a 5xx",
    "silent": f"closed without an answer, or none in {TIMEOUT_S:g} s",
    "gone": "the server does not answer any more",
}


V1, V2 = "/v1/models/{model}:predict", "/v2/models/{model}/infer"
JSON = {"Content-Type": "application/json"}
NUMBERS = [6.8, 2.8, 4.8, 1.4]
NESTED = b"[" * DEEP + b"]" * DEEP


def tensor(**changes: object) -> dict[str, Any]:
    """A right input tensor with some fields changed; ... drops one."""
    right: dict[str, Any] = {
        "name": "input-0",
        "shape": [1, 4],
        "datatype": "FP32",
        "data": NUMBERS,
    }
    return {k: v for k, v in (right | changes).items() if v is not ...}


def v2(name: str, body: object) -> Case:
    """A V2 request with this body; bytes go as they are."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(f"V2: {name}", V2, encoded, JSON)


def v2_input(name: str, /, **changes: object) -> Case:
    """A V2 request whose only tensor is wrong."""
    return v2(name, {"inputs": [tensor(**changes)]})


def v2_data(name: str, data: bytes, datatype: str = "FP32") -> Case:
    """A V2 request whose data is this text."""
    head = b'{"inputs":[{"name":"input-0","shape":[1,4],"datatype":"%s","data":' % datatype.encode()
    return v2(name, head + data + b"}]}")


def v1(name: str, body: object) -> Case:
    """A V1 request with this body; bytes go as they are."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(f"V1: {name}", V1, encoded, JSON)


def binary(
    name: str,
    /,
    *,
    size: object = 16,
    data: bytes = bytes(16),
    header: object = ...,
    **changes: object,
) -> Case:
    """A request in the binary extension: what the header says, what the JSON says, what comes."""
    fields: dict[str, object] = {"data": ..., "parameters": {"binary_data_size": size}}
    encoded = json.dumps({"inputs": [tensor(**(fields | changes))]}).encode()
    length = len(encoded) if header is ... else header
    headers = {"Content-Type": "application/octet-stream"}
    headers["Inference-Header-Content-Length"] = str(length)
    return Case(f"V2 binary: {name}", V2, encoded + data, headers)


def broken(name: str, raw: bytes) -> Case:
    """Bytes that are not a whole HTTP request."""
    return Case(f"HTTP: {name}", V2, raw=raw, broken_http=True, half_close=True)


RIGHT = Case("right", V2, json.dumps({"inputs": [tensor()]}).encode(), JSON)
POST = b"POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n"

CASES: list[Case] = [
    # The document.
    v2("empty body", b""),
    v2("not JSON", b"hello"),
    v2("truncated JSON", RIGHT.body[:-5]),
    v2("two documents", RIGHT.body + RIGHT.body),
    v2("null", None),
    v2("a list", []),
    v2("a number", 7),
    v2("invalid UTF-8", RIGHT.body.replace(b"input-0", b"input-\xff\xfe")),
    v2("nested a hundred thousand deep", NESTED),
    v2("parameters nested deep", b'{"parameters":{"a":' + NESTED + b'},"inputs":[]}'),
    v2("no inputs field", {}),
    v2("inputs null", {"inputs": None}),
    v2("inputs an object", {"inputs": {}}),
    v2("inputs empty", {"inputs": []}),
    v2("an input that is null", {"inputs": [None]}),
    v2("an input that is a number", {"inputs": [3]}),
    v2("id an object", {"id": {}, "inputs": [tensor()]}),
    v2("outputs a string", {"outputs": "all", "inputs": [tensor()]}),
    v2("parameters a list", {"parameters": [1], "inputs": [tensor()]}),
    # The tensor.
    v2_input("no name", name=...),
    v2_input("name a number", name=5),
    v2_input("no shape", shape=...),
    v2_input("shape a string", shape="1,4"),
    v2_input("shape negative", shape=[-1, -4]),
    v2_input("shape with a fraction", shape=[1.5, 4]),
    v2_input("shape larger than the data", shape=[2, 4]),
    v2_input("shape smaller than the data", shape=[1, 3]),
    v2_input("shape that overflows 64 bits", shape=[2**62, 2**62]),
    v2_input("shape of a billion rows", shape=[GIGABYTE, 4]),
    v2_input("shape of ten thousand dimensions", shape=[1] * 10_000),
    v2_input("no datatype", datatype=...),
    v2_input("unknown datatype", datatype="FP128"),
    v2_input("no data", data=...),
    v2_input("data null", data=None),
    v2_input("data an object", data={}),
    v2_data("text among numbers", b'[1,2,"three",4]'),
    v2_data("null among numbers", b"[1,2,null,4]"),
    v2_data("NaN", b"[1,2,NaN,4]"),
    v2_data("Infinity", b"[1,2,Infinity,4]"),
    v2_data("a number beyond FP64", b"[1,2,1e999,4]"),
    v2_data("a number beyond INT32", b"[1,2,3000000000,4]", "INT32"),
    v2_data("a negative UINT8", b"[1,2,-3,4]", "UINT8"),
    v2_data("ragged rows", b"[[1,2,3],[4]]"),
    # What the model cannot take.
    v2_input("three columns for a model of four", shape=[1, 3], data=NUMBERS[:3]),
    v2_input("text for a model of numbers", datatype="BYTES", data=["a", "b", "c", "d"]),
    # The binary extension.
    binary("fewer bytes than claimed", data=bytes(9)),
    binary("more bytes than claimed", data=bytes(24)),
    binary("a gigabyte claimed", size=GIGABYTE),
    binary("a negative size", size=-16),
    binary("size not that of the shape", size=12, data=bytes(12)),
    binary("JSON longer than the body", header=GIGABYTE),
    binary("JSON length not a number", header="many"),
    binary("text longer than what is there", datatype="BYTES", data=b"\xff\xff\xff\x7f" + bytes(12)),
    # V1.
    v1("not JSON", b"hello"),
    v1("no instances", {}),
    v1("instances null", {"instances": None}),
    v1("ragged rows", {"instances": [[1, 2, 3, 4], [5]]}),
    v1("text for a model of numbers", {"instances": [["a", "b", "c", "d"]]}),
    v1("three columns for a model of four", {"instances": [NUMBERS[:3]]}),
    # Addresses.
    Case("V2: unknown model", "/v2/models/nobody-knows/infer", RIGHT.body, JSON),
    Case("V2: unknown version", "/v2/models/{model}/versions/999/infer", RIGHT.body, JSON),
    Case("V1: unknown model", "/v1/models/nobody-knows:predict", b'{"instances":[[1,2,3,4]]}', JSON),
    # HTTP itself.
    broken("a gigabyte claimed, ten bytes sent", POST + b"Content-Length: 1000000000\r\n\r\n0123456789"),
    broken("a chunk size that is not a number", POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"),
]


def run(base_url: str, model: str) -> list[Result]:
    """Sends every case; raises ValueError if even a right request is refused."""
    status, body = send(base_url, model, RIGHT)
    if status != OK:
        raise ValueError(
            f"{model}: a right request got {status} {body[:200]!r}: "
            "these cases need a model that takes one FP32 tensor of four columns"
        )
    results = []
    for case in CASES:
        status, body = send(base_url, model, case)
        results.append(Result(case, status, body, alive=send(base_url, model, RIGHT)[0] == OK))
    return results


def send(base_url: str, model: str, case: Case) -> tuple[int, bytes]:
    """Status and body of the answer, on a connection of its own."""
    authority = urlsplit(base_url).netloc
    host, port = urlsplit(base_url).hostname, urlsplit(base_url).port or 80
    path = urlsplit(base_url).path.rstrip("/") + case.path.replace("{model}", model)
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            # A server may refuse before it has read everything: its answer counts all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(encode(case, authority, path))
                if case.half_close:
                    connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection, method=case.method)
            response.begin()
            return response.status, response.read()
    except TimeoutError:
        return SILENT, b""
    except (OSError, http.client.HTTPException):
        return CLOSED, b""


def encode(case: Case, authority: str, path: str) -> bytes:
    """The bytes of the request."""
    if case.raw is not None:
        filled = case.raw.replace(b"{authority}", authority.encode())
        return filled.replace(b"{path}", path.encode())
    headers = {"Host": authority, "Connection": "close"} | case.headers
    headers["Content-Length"] = str(len(case.body))
    lines = [f"{case.method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + case.body


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base_url", help="for example http://127.0.0.1:8080")
    parser.add_argument("model")
    parser.add_argument("--strict", action="store_true", help="fail unless every answer is right")
    options = parser.parse_args()
    try:
        results = run(options.base_url, options.model)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for result in results:
        sys.stdout.write(f"{result}\n")
    sys.stdout.write(f"\n{len(results)} cases\n")
    for verdict, meaning in VERDICTS.items():
        count = sum(r.verdict == verdict for r in results)
        sys.stdout.write(f"{count:4}  {meaning}\n" if count else "")
    wrong = any(not r.is_right for r in results)
    failed = any(r.is_server_error or not r.alive for r in results)
    return 1 if failed or (options.strict and wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
