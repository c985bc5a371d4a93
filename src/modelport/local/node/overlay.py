"""Our package for interpreters of other environments: links to the files of this installation, nothing downloaded."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

PACKAGES = ("modelport", "msgspec")
"""What an environment of somebody else's must be able to import; the rest is its own."""


def make(environments: Path) -> Path:
    """The folder to put behind everything that an interpreter has itself. Made, or made right, each time."""
    overlay = environments / "overlay"
    overlay.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        module = sys.modules.get(name) or __import__(name)
        _link(overlay / name, Path(str(module.__file__)).parent)
        known = importlib.metadata.distribution(name)
        about = f"{name}-{known.version}.dist-info"
        _link(overlay / about, Path(str(known.locate_file(about))))
    return overlay


def _link(link: Path, place: Path) -> None:
    if link.is_symlink() and link.readlink() == place:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(place)
    temporary.replace(link)  # never absent: another interpreter may be importing
