"""Tiny packages that can be installed without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path


def make(folder: Path, name: str, version: str, text: str = "") -> Path:
    """A wheel of one module that knows its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": text or f"version = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in (files | {f"{about}/RECORD": record}).items():
            wheel.writestr(file, content)
    return path


def shelf(folder: Path) -> str:
    """A folder of packages, and the lines of a requirements.txt that installs from it alone."""
    make(folder, "numpy", "0.0.1")  # what every environment gets; a real one would be downloaded
    for version in ("1.0", "2.0"):
        make(folder, "flavour", version)
    return f"--no-index\n--find-links {folder}\n"
