"""A custom predictor under KServe and, with its import lines changed, under Modelport: the same answers."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import environments
import exchanges
import pytest
from exchanges import DIFFERENT, SAME, Request
from served import PATIENCE_S, running

PREDICTOR = Path(__file__).parent / "kserve_predictor.py"
IMPORTS = {
    "from kserve import": "from modelport import",
    "from kserve.errors import": "from modelport import",
}

OURS = re.compile("content-length|transfer-encoding|date|server|x-request-id|ce-id|ce-time")
"""Headers that each server words for itself."""


class Both(NamedTuple):
    """REST and gRPC addresses."""

    kserve: tuple[str, str]
    modelport: tuple[str, str]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("predictor")
    text = PREDICTOR.read_text()
    for line, instead in IMPORTS.items():
        assert line in text
        text = text.replace(line, instead)
    changed = folder / "predictor.py"
    changed.write_text(text)
    ports = ("--http_port", "0", "--grpc_port", "0")
    with running(str(changed), *ports, errors=folder / "modelport.txt") as ours:
        with kserve(folder / "kserve.txt") as theirs:
            yield Both(theirs, (ours.rest, ours.grpc))


@contextlib.contextmanager
def kserve(said: Path) -> Iterator[tuple[str, str]]:
    """KServe's own server with the predictor."""
    rest, grpc = free_port(), free_port()
    command = [
        str(environments.python("kserve")),
        str(PREDICTOR),
        "--http_port",
        str(rest),
        "--grpc_port",
        str(grpc),
    ]
    with said.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environments.clean())
    try:
        until_it_serves(f"http://127.0.0.1:{rest}/v2/health/ready", process, said)
        yield f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_S)
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until_it_serves(url: str, process: subprocess.Popen[bytes], said: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=PATIENCE_S):
            return
        time.sleep(0.1)
    raise AssertionError(f"KServe's server did not start:\n{said.read_text(errors='replace')}")


def ask(both: Both, request: Request) -> tuple[exchanges.Answer, exchanges.Answer]:
    return tuple(exchanges.ask(rest, request, PATIENCE_S) for rest, _ in both)  # pyright: ignore[reportReturnType]


def without_absent(body: Any) -> Any:
    """JSON without members that are null: KServe spells out what is not there."""
    if isinstance(body, dict):
        return {name: without_absent(value) for name, value in body.items() if value is not None}
    return [without_absent(one) for one in body] if isinstance(body, list) else body


def headers(answer: exchanges.Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if not OURS.fullmatch(name)}


@pytest.mark.parametrize("case", SAME)
def test_answers_are_the_same(both: Both, case: str) -> None:
    theirs, ours = ask(both, SAME[case])
    assert ours.status == theirs.status, (ours, theirs)
    expected, body = without_absent(theirs.body), without_absent(ours.body)
    if case.startswith("models"):
        expected = {"models": sorted(expected["models"])}
    if case.startswith("CloudEvent, structured"):
        assert body.pop("id")
        assert expected.pop("id")
        assert body.pop("time")
        assert expected.pop("time")
    assert body == expected


@pytest.mark.parametrize("case", SAME)
def test_headers_are_the_same(both: Both, case: str) -> None:
    theirs, ours = (headers(answer) for answer in ask(both, SAME[case]))
    # KServe gives some bodies no type at all, and its binary JSON is longer by the nulls.
    given = ours.pop("content-type")
    assert given == theirs.pop("content-type", given)
    assert ("inference-header-content-length" in ours) == ("inference-header-content-length" in theirs)
    for one in (ours, theirs):
        one.pop("inference-header-content-length", None)
    if case == "explain":  # KServe echoes the request's headers
        assert ours.items() <= theirs.items()
    else:
        assert ours == theirs


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_differs_as_it_should(both: Both, case: str) -> None:
    request, kserve_status, modelport_status, _ = DIFFERENT[case]
    theirs, ours = ask(both, request)
    assert (theirs.status, ours.status) == (kserve_status, modelport_status), (theirs, ours)
    if ours.status >= 400:
        assert list(ours.body) == ["error"]


@pytest.fixture(scope="module")
def grpc(both: Both, client: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    theirs, ours = (client("kserve", "kserve_grpc.py", grpc)["all_of_it"] for _, grpc in both)
    assert "failed" not in theirs, theirs
    assert "failed" not in ours, ours
    return theirs, ours


@pytest.mark.parametrize(
    "case",
    [
        "ready",
        *("typed", "typed, seen", "typed, text"),
        *("raw", "raw, seen", "raw, text"),
        *("InvalidInput", "nothing"),
    ],
)
def test_grpc_answers_are_the_same(grpc: tuple[dict[str, Any], dict[str, Any]], case: str) -> None:
    theirs, ours = grpc
    assert ours[case] == theirs[case]


def test_a_failure_of_the_model_is_internal_by_grpc(grpc: tuple[dict[str, Any], dict[str, Any]]) -> None:
    theirs, ours = grpc
    assert ours["InferenceError"] == {"kind": "AioRpcError", "text": "scorer failed", "code": "INTERNAL"}
    assert theirs["InferenceError"]["code"] == "INVALID_ARGUMENT"  # as if the caller were to blame
    assert ours["ValueError"] == {"kind": "AioRpcError", "text": "scorer broke", "code": "INTERNAL"}
    assert theirs["ValueError"]["code"] == "INTERNAL"
