"""curl, as people type it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest
from served import PATIENCE_S, Running

BODY = '{"instances": [[6.8, 2.8, 4.8, 1.4], [5.0, 3.4, 1.5, 0.2]]}'
PREDICTED = {"predictions": [1, 0]}


class Said(NamedTuple):
    """What curl got: the status, the headers and the body of the last answer."""

    status: int
    version: str
    headers: dict[str, str]
    body: str


def curl(*arguments: str) -> Said:
    command = shutil.which("curl")
    assert command is not None, "curl is missing. On Debian and Ubuntu: apt install curl"
    given = ["--silent", "--show-error", "--include", "--max-time", str(PATIENCE_S), *arguments]
    done = subprocess.run([command, *given], capture_output=True, check=False, timeout=PATIENCE_S * 2)
    assert done.returncode == 0, done.stderr.decode()
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    while head.split(b"\r\n")[0].split()[1] == b"100":  # 100 Continue, then the answer
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    version, status = first.split()[:2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Said(int(status), version, headers, body.decode())


def predict(server: Running, *arguments: str) -> Said:
    return curl(f"{server.rest}/v1/models/iris:predict", *arguments)


def test_a_body_is_json_whatever_curl_calls_it(server: Running) -> None:
    said = predict(server, "-d", BODY)  # application/x-www-form-urlencoded
    assert (said.status, json.loads(said.body)) == (200, PREDICTED)
    assert said.headers["content-type"] == "application/json"
    for kind in ("text/plain", "application/json; charset=utf-8", ""):
        assert json.loads(predict(server, "-d", BODY, "-H", f"Content-Type: {kind}").body) == PREDICTED


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_body(server: Running, tmp_path: Path, encoding: str, pack: object) -> None:
    packed = tmp_path / "body"
    packed.write_bytes(pack(BODY.encode()))  # pyright: ignore[reportCallIssue]
    said = predict(server, "--data-binary", f"@{packed}", "-H", f"Content-Encoding: {encoding}")
    assert (said.status, json.loads(said.body)) == (200, PREDICTED)


def test_a_body_that_is_not_what_it_says(server: Running) -> None:
    said = predict(server, "-d", BODY, "-H", "Content-Encoding: gzip")
    assert said.status == 400
    assert "does not decompress" in json.loads(said.body)["error"]
    said = predict(server, "-d", BODY, "-H", "Content-Encoding: br")
    assert said.status == 415
    assert list(json.loads(said.body)) == ["error"]


def test_compressed_is_understood(server: Running) -> None:
    assert json.loads(predict(server, "--compressed", "-d", BODY).body) == PREDICTED


def test_chunked_upload(server: Running, tmp_path: Path) -> None:
    rows = json.dumps({"instances": [[6.8, 2.8, 4.8, 1.4]] * 5000})
    file = tmp_path / "rows.json"
    file.write_text(rows)
    said = predict(server, "-X", "POST", "-T", str(file), "-H", "Transfer-Encoding: chunked")
    assert (said.status, json.loads(said.body)) == (200, {"predictions": [1] * 5000})


def test_expect_continue(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"instances": [[6.8, 2.8, 4.8, 1.4]] * 100_000}))
    said = predict(server, "--data-binary", f"@{file}", "-H", "Expect: 100-continue")
    assert said.status == 200
    assert said.body.count("1") == 100_000


def test_http2_without_tls(server: Running) -> None:
    if (
        "HTTP2"
        not in subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    ):
        return  # this curl was built without it
    said = predict(server, "--http2-prior-knowledge", "-d", BODY)
    assert (said.status, said.version, json.loads(said.body)) == (200, "HTTP/2", PREDICTED)


def test_http1_0(server: Running) -> None:
    said = predict(server, "--http1.0", "-d", BODY)
    assert (said.status, json.loads(said.body)) == (200, PREDICTED)


def test_two_requests_share_a_connection(server: Running) -> None:
    url = f"{server.rest}/v2/health/live"
    done = subprocess.run(
        ["curl", "-s", "-w", "%{num_connects} ", "-o", "/dev/null", url, "-o", "/dev/null", url],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.split() == ["1", "0"]


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/iris", "/v1/models", "/metrics", "/docs"])
def test_head_is_get_without_its_body(server: Running, path: str) -> None:
    head, got = curl("--head", server.rest + path), curl(server.rest + path)
    assert (head.status, head.body) == (200, "")
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # it counts these requests, too
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("OPTIONS", "/v2/models/iris", "GET, HEAD"),
        ("OPTIONS", "/v2/models/iris/infer", "POST"),
        ("HEAD", "/v2/models/iris/infer", "POST"),
        ("GET", "/v1/models/iris:predict", "POST"),
        ("POST", "/v2/models/iris", "GET, HEAD"),
        ("DELETE", "/v2/repository/models/iris/unload", "POST"),
    ],
)
def test_a_wrong_method_learns_the_right_ones(server: Running, method: str, path: str, allow: str) -> None:
    said = curl("--head" if method == "HEAD" else f"-X{method}", server.rest + path)
    assert (said.status, said.headers["allow"]) == (405, allow)


def test_a_percent_escaped_name(server: Running) -> None:
    said = curl(f"{server.rest}/v1/models/ir%69s:predict", "-d", BODY)
    assert json.loads(said.body) == PREDICTED


def test_a_request_id_comes_back(server: Running) -> None:
    said = predict(server, "-d", BODY, "-H", "X-Request-Id: mine-1")
    assert said.headers["x-request-id"] == "mine-1"
