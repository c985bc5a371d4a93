"""Keys from the platform's own file: what opens what, and that nothing that is wrong opens anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelport.local.gateway import key_file
from modelport.local.gateway.auth import auth
from modelport.wire.table import ApiKey, Scope

HASH = hashlib.sha256(b"k").hexdigest()


def test_a_line_is_a_key_with_what_it_may_do() -> None:
    text = f"""# ours
team-a sha256:{HASH.upper()}   predict:default/churn admin:*/*

team-b\tsha256:{"0" * 64}
"""
    keys, problems = key_file.parse(key_file.Content(text=text))
    assert problems == []
    assert keys == [
        ApiKey(
            id="team-a",
            sha256=HASH,
            scopes=[
                Scope(service="default/churn", verbs=["predict"]),
                Scope(service="*/*", verbs=["admin"]),
            ],
        ),
        ApiKey(id="team-b", sha256="0" * 64, scopes=[Scope(service="*/*", verbs=["predict", "explain"])]),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "team-a",
        "team-a hunter2",
        "team-a sha256:hunter2",
        f"team-a sha256:{HASH} predict",
        f"team-a sha256:{HASH} delete:default/a",
        f"team-a sha256:{HASH} predict:default/a/b",
        f"team-a sha256:{HASH} predict:*/a",
        f"team-a sha256:{HASH} predict:default/a predict:",
    ],
)
def test_a_broken_line_opens_nothing_and_takes_nothing_from_the_others(line: str) -> None:
    """Half a line must not be half a permission, and a key that was written there by mistake not go into a log."""
    text = f"{line}\ngood sha256:{'1' * 64}\n"
    keys, problems = key_file.parse(key_file.Content(text=text))
    assert [key.id for key in keys] == ["good"]
    assert len(problems) == 1
    assert problems[0].startswith("api-keys, line 1: ")
    assert "hunter2" not in problems[0]


def test_what_others_may_write_or_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    """Fallen back to no keys at all, it would let everybody in."""
    path = tmp_path / "api-keys"
    assert key_file.read(path) is None
    assert auth([], [], file=key_file.read(path)) == (None, [])
    path.write_text(f"a sha256:{HASH}\n")
    for spoil in (lambda: path.chmod(0o666), lambda: (path.chmod(0o600), path.write_bytes(b"\xff"))):
        spoil()
        section, problems = auth([], [], file=key_file.read(path))
        assert section is not None
        assert section.keys == []
        assert str(path) in problems[0]


def test_a_change_of_the_file_is_seen(tmp_path: Path) -> None:
    """A key that was taken back must end without a restart."""
    path = tmp_path / "api-keys"
    before = key_file.stamp(path)
    path.write_text("a")
    after = key_file.stamp(path)
    path.chmod(0o666)
    assert len({before, after, key_file.stamp(path)}) == 3
