"""The same random rows give the same answers by every protocol."""

from __future__ import annotations

from typing import Any

import pytest
from served import Running

CASES = ("classes", "probabilities", "floats", "integers", "booleans", "text")
WAYS = ("V1", "V2 JSON", "V2 binary", "V2 JSON to binary", "gRPC raw", "gRPC typed")


@pytest.fixture(scope="module")
def answers(server: Running, client: Any) -> dict[str, dict[str, Any]]:
    return client("tritonclient", "agreement.py", server.rest, server.grpc)["answers"]


@pytest.mark.parametrize("case", [f"{case} {seed}" for case in CASES for seed in range(4)])
def test_every_protocol_answers_the_same(answers: dict[str, dict[str, Any]], case: str) -> None:
    assert "failed" not in answers, answers
    told = answers[case]
    assert tuple(told) == WAYS
    for way in WAYS:
        assert told[way] == told["V2 binary"], way
