"""Importing a framework late, and saying how to install it where it is missing."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelport.runtimes import later
from modelport.server.runtime import LoadError


def _step(extra: str) -> str:
    """How a framework is had: here, or in an environment that a model's own file describes."""
    # Those that the platform has made stand beside the folder by which they have Modelport itself.
    if str(Path(sys.prefix).with_name("overlay")) in sys.path:
        package = {"sklearn": "scikit-learn", "onnx": "onnxruntime"}.get(extra, extra)
        return f"Add {package} to the model's requirements.txt or conda.yaml, which this environment was made by."
    return f"Run: pip install 'modelport[{extra}]'"


def framework(module: str, extra: str) -> Any:
    """The module, untyped as most frameworks are. Raises LoadError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise LoadError(f"{module}: cannot be imported: {error}. Reinstall it.") from error
        raise LoadError(f"{module}: not installed, and this model needs it. {_step(extra)}") from error
    except (ImportError, OSError) as error:  # OSError: a shared library such as libgomp is missing
        raise LoadError(f"{module}: installed, but cannot be imported: {error}") from error


def preload(modules: Iterable[str]) -> None:
    """Imports what processes forked from this one will share. What cannot be imported is theirs to complain of.

    scikit-learn imports pandas if there is one, and makes no use of it until it is given a frame. That is 24 MB,
    which most models do without: it is kept out here, and imported once a model asks for it. What it imports and never
    looks into is put off (`later.py`).
    """
    for name in modules:
        if name in sys.modules:
            continue
        without = name.partition(".")[0] == "sklearn" and "pandas" not in sys.modules
        if without:
            sys.modules["pandas"] = None  # type: ignore[assignment] - so says the import system's documentation
        try:
            with contextlib.suppress(Exception), later.put_off():
                importlib.import_module(name)
        finally:
            if without:
                del sys.modules["pandas"]
    pools = sys.modules.get("threadpoolctl")
    if pools is not None:
        _pools(pools, len(sys.modules))  # once for all processes: looking writes to a megabyte of their pages


def limit_threads(threads: int) -> None:
    """Holds the BLAS and OpenMP libraries that are loaded by now to so many threads, where that can be done.

    OpenMP's limit is the calling thread's own: it does not hold for predictions that another one makes.
    """
    try:
        pools: Any = importlib.import_module("threadpoolctl")
    except ModuleNotFoundError:
        return
    _pools(pools, len(sys.modules)).limit(limits=threads)


@functools.lru_cache(maxsize=1)
def _pools(pools: Any, _: int) -> Any:
    """The libraries that are loaded: looking for them takes milliseconds, and only an import brings more."""
    return pools.ThreadpoolController()
