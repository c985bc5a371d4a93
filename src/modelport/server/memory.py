"""How much memory this server may use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def memory_bytes(membership: Path = Path("/proc/self/cgroup"), root: Path = CGROUP) -> int:
    """The machine's memory, or less where a control group (version 2), as a container's, allows less."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups(membership, root):
        try:
            limit = (folder / "memory.max").read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            most = min(most, int(limit))
    return most


def _groups(membership: Path, root: Path) -> list[Path]:
    """The process' control group and those above it, each of which limits it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    place = root / own
    return [folder for folder in (place, *place.parents) if folder == root or root in folder.parents]
