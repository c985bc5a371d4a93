"""Importing a framework late, and saying how to install it where it is missing."""

from __future__ import annotations

import importlib
from typing import Any

from modelport.server.runtime import LoadError


def framework(module: str, extra: str) -> Any:
    """The module, untyped as most frameworks are. Raises LoadError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise LoadError(f"{module}: cannot be imported: {error}. Reinstall it.") from error
        raise LoadError(
            f"{module}: not installed, and this model needs it. Run: pip install 'modelport[{extra}]'"
        ) from error
    except (ImportError, OSError) as error:  # OSError: a shared library such as libgomp is missing
        raise LoadError(f"{module}: installed, but cannot be imported: {error}") from error


def limit_threads(threads: int) -> None:
    """Holds the BLAS and OpenMP libraries that are loaded by now to so many threads, where that can be done."""
    try:
        pools: Any = importlib.import_module("threadpoolctl")
    except ModuleNotFoundError:
        return
    pools.threadpool_limits(limits=threads)
