"""What the figures hold for."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def environ() -> dict[str, str]:
    """The environment that every contender gets: this one, without its Python settings."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if k not in dropped} | THREADS


def describe(root: Path) -> dict[str, Any]:
    """Machine, time and commit."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_at_start": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git(root, "rev-parse", "--short", "HEAD"),
        "changed_files": len(git(root, "status", "--porcelain").splitlines()),
        "environment": THREADS,
    }


def git(root: Path, *args: str) -> str:
    """What git says, or nothing outside a checkout."""
    command = ["git", *args]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()
