"""Requests that a custom predictor is asked, under KServe and under Modelport."""

from __future__ import annotations

import http.client
import json
import struct
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    """What is sent. `body` is sent as JSON unless it is bytes."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it


class Answer(NamedTuple):
    """What came back; the body is JSON where it is that."""

    status: int
    body: Any
    headers: dict[str, str]


def v1(model: str, body: Any, verb: str = "predict", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", f"/v1/models/{model}:{verb}", body, {"Content-Type": "application/json"} | named)


def v2(model: str, body: Any, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"} | named)


def tensor(name: str, datatype: str, shape: list[int], data: Any = None, **parameters: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if data is not None:
        given["data"] = data
    if parameters:
        given["parameters"] = parameters
    return given


def binary(model: str, head: dict[str, Any], *parts: bytes) -> Request:
    text = json.dumps(head).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
    return Request("POST", f"/v2/models/{model}/infer", b"".join((text, *parts)), headers)


def texts(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in elements)


ROWS = [[1.0, 2.0, 3.5], [4.0, 5.0, 6.0]]
FLOATS = tensor("x", "FP32", [2, 3], ROWS)
RAW = struct.pack("<6f", 1, 2, 3.5, 4, 5, 6)
RAW_FLOATS = tensor("x", "FP32", [2, 3], binary_data_size=24)

SAME: dict[str, Request] = {
    "alive": Request("GET", "/"),
    "live": Request("GET", "/v2/health/live"),
    "ready": Request("GET", "/v2/health/ready"),
    "models, V1": Request("GET", "/v1/models"),
    "models, V2": Request("GET", "/v2/models"),
    "a model's readiness, V1": Request("GET", "/v1/models/scorer"),
    "a model's readiness, V2": Request("GET", "/v2/models/scorer/ready"),
    "no such model's readiness, V1": Request("GET", "/v1/models/nothing"),
    "no such model's readiness, V2": Request("GET", "/v2/models/nothing/ready"),
    "no such model, V1": v1("nothing", {"instances": ROWS}),
    "no such model, V2": v2("nothing", {"inputs": [FLOATS]}),
    "V1": v1("scorer", {"instances": ROWS}),
    "V1 with headers": v1("scorer", {"instances": ROWS}, X_Caller="me", X_Request_Id="one-7"),
    "V1, renamed by preprocess": v1("scorer", {"rows": ROWS}),
    "V1, no list": v1("scorer", {"instances": 7}),
    "V1, other members": v1("teller", {"instances": [1, "a", None, {"b": [True]}], "more": {"c": 1.5}}),
    "V1, numbers keep their kind": v1("teller", {"instances": [1, 1.0, 2**53 + 1, -0.5, 1e300]}),
    "explain": v1("scorer", {"instances": ROWS}, "explain"),
    "InvalidInput": v1("scorer", {"instances": ROWS}, X_Fail="input"),
    "InferenceError": v1("scorer", {"instances": ROWS}, X_Fail="inference"),
    "NotImplementedError": v1("scorer", {"instances": ROWS}, X_Fail="later"),
    "InvalidInput, V2": v2("scorer", {"inputs": [FLOATS]}, X_Fail="input"),
    "text": v1("verbatim", {"instances": ["text"]}),
    "bytes": v1("verbatim", {"instances": ["bytes"]}),
    "any JSON": v1("verbatim", {"instances": ["other"]}),
    "V2": v2("scorer", {"id": "one-7", "inputs": [FLOATS]}),
    "V2, flat data": v2("scorer", {"id": "one-7", "inputs": [tensor("x", "INT64", [2, 2], [1, 2, 3, 4])]}),
    "V2, outputs chosen": v2("scorer", {"id": "1", "inputs": [FLOATS], "outputs": [{"name": "label"}]}),
    "V2, parameters": v2(
        "teller",
        {
            "id": "1",
            "parameters": {"text": "a", "whole": 7, "yes": True, "part": 0.5},
            "inputs": [tensor("x", "FP64", [1, 1], [[0.5]], own="b"), tensor("n", "INT32", [2], [1, 2])],
            "outputs": [{"name": "told"}],
        },
    ),
    "V2, text": v2("teller", {"id": "1", "inputs": [tensor("t", "BYTES", [2], ["Oslo", "東京"])]}),
    "V2, booleans": v2("teller", {"id": "1", "inputs": [tensor("b", "BOOL", [3], [True, False, True])]}),
    "V2, small integers": v2("teller", {"id": "1", "inputs": [tensor("n", "UINT8", [2], [1, 255])]}),
    "binary in": binary("scorer", {"id": "1", "inputs": [RAW_FLOATS]}, RAW),
    "binary both ways": binary(
        "scorer",
        {
            "id": "1",
            "inputs": [RAW_FLOATS],
            "outputs": [{"name": "score", "parameters": {"binary_data": True}}],
        },
        RAW,
    ),
    "binary, all outputs": binary(
        "scorer", {"id": "1", "inputs": [RAW_FLOATS], "parameters": {"binary_data_output": True}}, RAW
    ),
    "binary text": binary(
        "teller",
        {"id": "1", "inputs": [tensor("t", "BYTES", [2], binary_data_size=16)]},
        texts(b"Oslo", b"Rome"),
    ),
    "binary FP16": binary(
        "teller",
        {"id": "1", "inputs": [tensor("h", "FP16", [2], binary_data_size=4)]},
        struct.pack("<2e", 0.5, 2),
    ),
    "binary and JSON": binary(
        "teller",
        {"id": "1", "inputs": [tensor("n", "INT32", [2], [1, 2]), RAW_FLOATS]},
        RAW,
    ),
    "a table": v2(
        "frame",
        {
            "id": "1",
            "parameters": {"content_type": "pd"},
            "inputs": [tensor("age", "FP64", [2], [41, 7.5]), tensor("n", "INT64", [2], [1, 2])],
        },
    ),
    "a table with text": v2(
        "frame",
        {
            "id": "1",
            "inputs": [tensor("city", "BYTES", [2], ["Oslo", "Rome"]), tensor("n", "INT32", [2], [1, 2])],
        },
    ),
    "CloudEvent, binary": v1(
        "scorer",
        {"instances": ROWS},
        ce_specversion="1.0",
        ce_id="7",
        ce_source="here",
        ce_type="asked",
    ),
    "CloudEvent, structured": Request(
        "POST",
        "/v1/models/scorer:predict",
        {
            "specversion": "1.0",
            "id": "7",
            "source": "here",
            "type": "asked",
            "time": "2026-01-02T03:04:05Z",
            "datacontenttype": "application/json",
            "data": {"instances": ROWS},
        },
        {"Content-Type": "application/cloudevents+json"},
    ),
}
"""Answered alike: status, body and the headers that matter."""


class Difference(NamedTuple):
    """What KServe answers, what Modelport answers, and why they differ. The bodies are not compared."""

    request: Request
    kserve: int
    modelport: int
    why: str


MISFIT = tensor("x", "FP32", [2, 3], [1.0])

DIFFERENT: dict[str, Difference] = {
    "metadata": Difference(Request("GET", "/v2/models/teller"), 200, 200, "platform is python, not empty"),
    "no route": Difference(Request("GET", "/v3"), 404, 404, "{error}, not {detail}"),
    "wrong method": Difference(Request("PUT", "/v1/models"), 405, 405, "{error}, not {detail}"),
    "V1, no JSON": Difference(v1("scorer", b"{not json"), 400, 400, "the parsers' own words"),
    "V1, no instances": Difference(
        v1("scorer", {"more": 1}), 500, 500, "the model's KeyError, with its type"
    ),
    "any other error": Difference(
        v1("scorer", {"instances": ROWS}, X_Fail="value"), 500, 500, "KServe puts the error's type before it"
    ),
    "explain, not there": Difference(
        v1("verbatim", {"instances": ROWS}, "explain"), 501, 501, "KServe speaks of explainer_host"
    ),
    "charset": Difference(
        v1("scorer", {"instances": ROWS}, Content_Type="application/json; charset=utf-8"),
        500,
        200,
        "KServe hands the model raw bytes",
    ),
    "curl's default": Difference(
        v1("scorer", {"instances": ROWS}, Content_Type="application/x-www-form-urlencoded"),
        500,
        200,
        "KServe hands the model raw bytes",
    ),
    "V2, no JSON": Difference(v2("scorer", b"{not json"), 422, 400, "bad input is a 400"),
    "V2, no inputs": Difference(v2("scorer", {"id": "1"}), 422, 400, "bad input is a 400"),
    "V2, no shape": Difference(
        v2("scorer", {"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}),
        422,
        400,
        "bad input is a 400",
    ),
    "V2, data that does not fit": Difference(
        v2("scorer", {"inputs": [MISFIT]}), 500, 400, "bad input is a 400"
    ),
    "V2, no such datatype": Difference(
        v2("scorer", {"inputs": [tensor("x", "FP99", [1], [1.0])]}), 400, 400, "KServe names no datatype"
    ),
    "V2, FP16 as JSON": Difference(
        v2("scorer", {"inputs": [tensor("x", "FP16", [1, 2], [1.0, 2.0])]}), 400, 200, "nothing forbids it"
    ),
    "V2, no such output": Difference(
        v2("scorer", {"inputs": [FLOATS], "outputs": [{"name": "nothing"}]}),
        400,
        400,
        "ours names those there are",
    ),
    "V2, no id": Difference(
        v2("scorer", {"inputs": [FLOATS]}), 500, 200, "KServe leaves it to the model to make one"
    ),
    "V2, a version": Difference(
        Request("GET", "/v2/models/scorer/versions/1"), 501, 404, "versions are served where there are any"
    ),
}
"""Answered differently, on purpose (docs/compatibility.md) or because KServe's answer is a mistake."""


def ask(base: str, request: Request, timeout_s: float) -> Answer:
    """Sends a request as it is."""
    parts = urlsplit(base)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    body = request.body
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    try:
        connection.request(request.method, request.path, body, request.headers)
        response = connection.getresponse()
        content = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
    return Answer(response.status, _parsed(content, headers), headers)


def _parsed(content: bytes, headers: dict[str, str]) -> Any:
    split = int(headers.get("inference-header-content-length", len(content)))
    try:
        body = json.loads(content[:split])
    except ValueError:
        return content.decode("latin-1")
    return [body, content[split:].hex()] if split < len(content) else body
