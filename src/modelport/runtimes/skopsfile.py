"""Reading skops files, which name their types before any of them is made."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelport.runtimes.framework import framework
from modelport.server.runtime import LoadError

_KNOWN: Final = (
    "sklearn.",
    "numpy.",
    "scipy.",
    "xgboost.",
    "lightgbm.",
    "catboost.",
    "collections.OrderedDict",
)
"""Types that skops does not trust by itself, trees among them, and that are loaded where pickles are."""


def load_skops(path: Path, allow_pickle: bool) -> object:
    """The object in a skops file. LoadError for types that are not trusted, by name, and for what cannot be read."""
    io = framework("skops.io", "sklearn")
    try:
        untrusted: list[str] = io.get_untrusted_types(file=path)
    except Exception as error:
        raise LoadError(f"{path}: not a readable skops file ({type(error).__name__}: {error}).") from error
    strange = [name for name in untrusted if not (allow_pickle and name.startswith(_KNOWN))]
    if strange:
        hint = "save the model as ONNX, or allow pickles if you trust the file"
        if allow_pickle:
            hint = "build the model from classes of scikit-learn, or save it as joblib if you trust the file"
        raise LoadError(
            f"{path}: it holds types that skops does not trust by itself: {', '.join(strange)}. To serve it, {hint}."
        )
    try:
        return io.load(path, trusted=untrusted)
    except Exception as error:
        raise LoadError(f"{path}: cannot be loaded ({type(error).__name__}: {error}).") from error
