"""Whether what lies there has the format that the user named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from modelport.runtimes.unpickle import packages_named
from modelport.server.runtime import LoadError, Runtime

MLFLOW: Final = "mlflow"
"""The format of a folder with an `MLmodel`, whichever framework's model it is."""
_PICKLED: Final = ("xgboost", "lightgbm", "catboost")
"""Formats whose scikit-learn classes are saved as pickles, which the runtime `sklearn` loads."""

Candidates = Mapping[Path, list[type[Runtime]]]
"""Files, each with the runtimes that know it."""


def check_name(wanted: str, known: Sequence[str]) -> None:
    """Raises LoadError for a format that no runtime here has."""
    if wanted not in (MLFLOW, *known):
        raise LoadError(
            f"model format {wanted}: there is no runtime for it here. Name one of {', '.join((*known, MLFLOW))}, or none."
        )


def agreeing(found: Candidates, wanted: str, place: Path) -> dict[Path, list[type[Runtime]]]:
    """What of it has the format. Raises LoadError, naming what is there, where nothing has."""
    agreed = {
        file: those
        for file, runtimes in found.items()
        if (those := [runtime for runtime in runtimes if _agrees(runtime, file, wanted)])
    }
    if agreed:
        return agreed
    held = ", ".join(
        f"{file.name} ({' or '.join(runtime.name for runtime in runtimes)})"
        for file, runtimes in found.items()
    )
    raise disagreement(place, held, wanted)


def disagreement(place: Path, held: str, wanted: str) -> LoadError:
    """Says what was wanted, what is there, and what to do."""
    what = "folder holds" if place.is_dir() else "file is"
    return LoadError(
        f"model format {wanted}: the {what} {held}: {place}. Name the format that it has (modelFormat in an "
        f"InferenceService, --model-format on the command line), or put {_article(wanted)} model there."
    )


def _agrees(runtime: type[Runtime], file: Path, wanted: str) -> bool:
    if runtime.name == wanted:
        return True
    return wanted in _PICKLED and runtime.name == "sklearn" and wanted in packages_named(file)


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}" if name != MLFLOW else "an MLflow"
