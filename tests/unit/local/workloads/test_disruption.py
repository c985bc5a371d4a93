"""How many pods may go now: rounding the wrong way takes one replica too many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelport.local.workloads.disruption import decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pods(ready: int, unready: int = 0, terminating: int = 0) -> list[dict[str, Any]]:
    def one(status: str, **meta: str) -> dict[str, Any]:
        return {"metadata": meta, "status": {"conditions": [{"type": "Ready", "status": status}]}}

    return (
        [one("True")] * ready
        + [one("False")] * unready
        + [one("True", deletionTimestamp="2026-01-01T00:00:00Z")] * terminating
    )


@pytest.mark.parametrize(
    ("spec", "ready", "expected", "wanted", "allowed"),
    [
        ({"minAvailable": 1}, 3, 3, 1, 2),
        ({"minAvailable": 3}, 3, 3, 3, 0),
        ({"minAvailable": "50%"}, 3, 3, 2, 1),
        ({"maxUnavailable": 1}, 3, 3, 2, 1),
        ({"maxUnavailable": 1}, 2, 3, 2, 0),
        ({"maxUnavailable": "34%"}, 3, 3, 1, 2),
        ({"maxUnavailable": "100%"}, 1, 1, 0, 1),
        ({"minAvailable": 1}, 0, 0, 1, 0),
    ],
)
def test_what_a_budget_allows(
    spec: dict[str, Any], ready: int, expected: int, wanted: int, allowed: int
) -> None:
    status = decide({"metadata": {"generation": 4}, "spec": spec}, pods(ready, 1, 1), expected, NOW)
    assert (status["desiredHealthy"], status["disruptionsAllowed"]) == (wanted, allowed)
    assert (status["currentHealthy"], status["observedGeneration"]) == (ready, 4)
