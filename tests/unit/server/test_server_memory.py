"""The memory that a server may use, which bounds what it takes in at once: wrong, and the machine or the container's
limit would end it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelport.server.memory import memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/pods/one\n", {"pods/one": "1000000", "pods": "max"}, 1_000_000),
        ("0::/pods/one\n", {"pods/one": "max", "pods": "2000000"}, 2_000_000),
        ("0::/pods/one\n", {"pods/one": "3000000", "pods": "2000000"}, 2_000_000),
        ("0::/\n", {"": "4000000"}, 4_000_000),
        ("0::/pods/one\n", {"pods/one": "max"}, MACHINE),
        ("0::/pods/one\n", {"pods/one": str(MACHINE * 2)}, MACHINE),
        ("0::/pods/one\n", {}, MACHINE),
        ("5:memory:/docker/abc\n", {"docker/abc": "1000"}, MACHINE),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, own: str, limits: dict[str, str], expected: int) -> None:
    root = tmp_path / "cgroup"
    for place, limit in limits.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place / "memory.max").write_text(limit + "\n")
    membership = tmp_path / "membership"
    membership.write_text(own)
    assert memory_bytes(membership, root) == expected


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path / "none", tmp_path / "none") == MACHINE
