"""The checks of a client script: each is run, and what it returns or raises is told as JSON on the last line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

CHECKS: dict[str, Callable[..., Any]] = {}


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function one of the checks."""
    CHECKS[function.__name__] = function
    return function


def raised(function: Callable[..., Any], *arguments: Any, **named: Any) -> dict[str, str]:
    """What a call raises that is expected to."""
    try:
        return {"returned": repr(function(*arguments, **named))}
    except Exception as error:  # noqa: BLE001 - told
        return {"kind": type(error).__name__, "text": str(error)}


def run(*arguments: Any) -> None:
    """Runs all checks with these arguments and tells."""
    told: dict[str, Any] = {}
    for name, function in CHECKS.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            told[name] = function(*arguments)
        except Exception as error:  # noqa: BLE001 - told
            told[name] = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(told, default=plain))


def plain(value: Any) -> Any:
    """NumPy's arrays and scalars, and bytes, as JSON."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__}: {value!r}")
