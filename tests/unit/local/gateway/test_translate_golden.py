"""Objects in, route table and verdicts out: `tests/golden/gateway/<case>/in.yaml` and `out.json`.

UPDATE_GOLDEN=1 rewrites the outs; read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from seeing import seen_at

from modelport.local.gateway.check import check
from modelport.local.gateway.translate import translate
from modelport.wire import table as wire

GOLDEN = Path(__file__).parents[3] / "golden" / "gateway"
CASES = sorted(path.name for path in GOLDEN.iterdir())


@pytest.mark.parametrize("case", CASES)
def test_translate(case: str) -> None:
    """Each case's comment says what it protects."""
    seen = seen_at(GOLDEN / case / "in.yaml", living={"p1", "p2", "p3"})
    found = translate(seen)
    assert wire.decode(wire.encode(found.table)) == found.table
    assert check(found.table) == [], "a golden can freeze a bug; this cannot be updated away"
    shown = {
        "verdicts": {"/".join(name): said for name, said in found.routes.items()},
        "problems": found.problems,
        "table": found.table,
    }
    text = msgspec.json.format(
        msgspec.json.encode(_short(msgspec.to_builtins(shown)), order="sorted"), indent=1
    )
    path = GOLDEN / case / "out.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(text + b"\n")
    assert path.read_bytes() == text + b"\n"


DEFAULTS = {
    "filters": {"request_headers": {}, "response_headers": {}},
    "outlier": {"failures": 5, "eject_ms": 10_000},
    "hold_ms": wire.HOLD_MS,
    "hold_limit": wire.HOLD_LIMIT,
    "retry": True,
    "internal": False,
    "version": 0,
    "type": "exact",
}


def _short(item: object) -> object:
    """Without what is so everywhere."""
    if isinstance(item, list):
        return [_short(part) for part in item]
    if isinstance(item, dict):
        short = {key: _short(value) for key, value in item.items()}
        return {
            key: value
            for key, value in short.items()
            if value not in (None, [], {}) and DEFAULTS.get(key, ...) != value
        }
    return item
