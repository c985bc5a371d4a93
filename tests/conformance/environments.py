"""Virtual environments for other people's clients, one a family.

kserve, tritonclient and every module generated from the protocol register the same protobuf names, so two of
them crash one process; and none of them belongs among what Modelport itself needs. An environment is made on
first use and found again by a hash of what is in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "conformance"

REQUIREMENTS = {
    "kserve": ("kserve==0.21.0",),
    "openapi": ("openapi-spec-validator==0.9.0",),
    "sdk": (
        "kserve==0.21.0",
        "kubernetes<36",  # from 36 on it refuses the models of KServe's SDK, also on a cluster
        "pytest>=7.4.4,<8",
        "pytest-asyncio>=0.23.4,<1",
        "httpx-retries>=0.4.5,<1",
        "portforward>=0.7.4,<1",
    ),
    "schemathesis": ("schemathesis==4.32.5",),
    "tutorials": ("kserve==0.21.0", "kubernetes<36", "torch>=2.4", "torchvision>=0.19", "pillow>=10.3"),
    "tritonclient": ("tritonclient[grpc,http]==2.73.0",),
}
"""Versions that have been seen to work. They name their own dependencies well enough."""

PATIENCE_S = 1800
"""The largest environment is 300 MB; a slow network may take its time."""


def python(family: str) -> Path:
    """The interpreter of a family's environment, which is made if it is not there."""
    requirements = REQUIREMENTS[family]
    key = repr((requirements, sys.version_info[:2], sys.platform)).encode()
    folder = CACHE / f"{family}-{hashlib.sha256(key).hexdigest()[:12]}"
    complete = folder / "complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may want it at the same time
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            uv("venv", "--python", sys.executable, str(folder))
            uv("pip", "install", "--python", str(folder / "bin" / "python"), *requirements)
            complete.touch()
    return folder / "bin" / "python"


def uv(*arguments: str) -> None:
    """Runs uv, and shows what it said when it fails."""
    beside = Path(sys.executable).with_name("uv")
    command = str(beside) if beside.exists() else shutil.which("uv")
    if command is None:
        raise RuntimeError(f"uv is neither in {beside.parent} nor on the PATH. Run: python -m pip install uv")
    done = subprocess.run(
        [command, "--quiet", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=clean(),
    )
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)} failed. Is the network there?\n{done.stderr}")


def clean() -> dict[str, str]:
    """This process's environment without what would lead another interpreter to our packages."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours}


if __name__ == "__main__":
    sys.stdout.write(f"{python(sys.argv[1])}\n")
