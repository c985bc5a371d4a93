"""How a model file begins: enough to tell what it is instead of a model."""

from __future__ import annotations

from pathlib import Path

from modelport.server.runtime import LoadError


def beginning(path: Path) -> bytes:
    """Its first 64 bytes; none where it cannot be read, which its reader says better."""
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""


def pointer(path: Path) -> LoadError | None:
    """What to say of a file that Git LFS keeps elsewhere; None where it is one itself."""
    if beginning(path).startswith(b"version https://git-lfs"):
        return LoadError(f"{path}: is a pointer of Git LFS, not the model. Run: git lfs pull")
    return None
