"""Modelport serves machine-learning models behind one standard interface: KServe's.

The names below are the public API; each is imported on first use, so that `import modelport` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport.protocol.errors import (
        HTTPError as HTTPError,
    )

_HOME = {
    "HTTPError": "modelport.protocol.errors",
    "InferenceError": "modelport.protocol.errors",
    "InvalidInput": "modelport.protocol.errors",
    "ModelNotFound": "modelport.protocol.errors",
    "ModelNotReady": "modelport.protocol.errors",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if home := _HOME.get(name):
        return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'modelport' has no attribute {name!r}")
