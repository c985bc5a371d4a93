"""Loading pickles that may name what is not here: other versions, missing modules, classes of a notebook.

Unpickling runs code that the file names. Whether it may is the caller's decision (`Settings.allow_pickle`).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import sys
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from modelport.runtimes import joblibfile
from modelport.runtimes.framework import framework
from modelport.server.runtime import LoadError

_DISTRIBUTION: Final = {
    "catboost": "'modelport[catboost]'",
    "category_encoders": "category-encoders",
    "cv2": "opencv-python-headless",
    "feature_engine": "feature-engine",
    "imblearn": "imbalanced-learn",
    "lightgbm": "'modelport[lightgbm]'",
    "onnxruntime": "'modelport[onnx]'",
    "sksurv": "scikit-survival",
    "torch": "'modelport[torch]'",
    "xgboost": "'modelport[xgboost]'",
    "yaml": "pyyaml",
}
"""What to give pip for modules whose distribution has another name."""

_SCANNED_BYTES: Final = 256 << 20
_NAMED: Final = re.compile(
    rb"(?:sklearn|scipy|numpy|pandas|xgboost|lightgbm|catboost)(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,6}"
)
_READ_FOR_NAMES: Final = 1 << 20
"""Bytes: what is pickled names its classes early, before most of its arrays."""


def load_joblib(path: Path) -> object:
    """Loads a pickle or joblib file, compressed or not. Modules beside the file can be imported meanwhile.

    Raises LoadError, with the module to install or the version to go back to.
    """
    with _importable(path.parent):
        try:
            return joblibfile.load(path)
        except Exception as error:
            raise LoadError(explain(path, error)) from error


def modules_named(path: Path) -> list[str]:
    """Modules of frameworks that a pickle names, found by reading it only; none where it is compressed.

    Text in the model may look like a name, so these are guesses.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_READ_FOR_NAMES)
    except OSError:
        return []
    return sorted({found.decode() for found in _NAMED.findall(content) if b".test" not in found})


def packages_named(path: Path) -> set[str]:
    """The frameworks that a pickle names, compressed or not, found by reading it only; so these are guesses."""
    return {found.decode().partition(".")[0] for found in _NAMED.findall(_content(path))}


@contextmanager
def saved_versions(found: list[str]) -> Generator[None]:
    """Gathers the versions of scikit-learn that saved what is loaded meanwhile, where they differ from ours."""
    inconsistent: type[Warning] = framework("sklearn.exceptions", "sklearn").InconsistentVersionWarning
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", inconsistent)
        yield
    for warning in caught:
        if isinstance(warning.message, inconsistent):
            message: Any = warning.message
            version = str(message.original_sklearn_version)
            if version not in found:
                found.append(version)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def explain(path: Path, error: Exception) -> str:
    """Why a pickle could not be loaded, and what to do."""
    content = _content(path)
    running: str = framework("sklearn", "sklearn").__version__
    saved = scan_version(content)
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.split(".")[0]
        if top == "numpy":
            return (
                f"{path}: it was saved with another major version of NumPy ({said}). "
                "Run: pip install 'numpy>=2'"
            )
        if top != "sklearn":
            return _missing_module(path, error.name, _class_of(content, error.name))
    if name := _from_main(error):
        return (
            f"{path}: it needs {name}, which was defined in the script or notebook that saved the model "
            "(`__main__`) and is not in the file. Move it to a module of its own, import it from there, save the "
            "model again, and put the module beside it."
        )
    if saved is not None and saved != running:
        return (
            f"{path}: saved by scikit-learn {saved}, and {running}, which is running, cannot read it ({said}). "
            f"Run: pip install scikit-learn=={saved}, or save the model again with {running}."
        )
    if "sklearn" in said:
        return (
            f"{path}: saved by another version of scikit-learn than {running}, which is running ({said}). "
            "Install the version that saved it, or save the model again."
        )
    return f"{path}: cannot be unpickled ({said}). Is the file complete, and is it a pickle or joblib file?"


def scan_version(content: bytes) -> str | None:
    """The version of scikit-learn in a pickle's bytes, without unpickling them.

    Searched for, not parsed: joblib writes raw arrays between the opcodes, where a parser would stop. Between
    key and version are opcodes and lengths only, in every pickle protocol.
    """
    found = re.search(rb"_sklearn_version.{0,12}?(\d+\.\d+(?:\.\d+)*(?:rc\d+|\.dev\d+)?)", content, re.DOTALL)
    return found[1].decode() if found else None


def _missing_module(path: Path, module: str, name: str | None) -> str:
    top = module.split(".")[0]
    needs = f"{path}: it needs the module {module}" + (f" (for {name})" if name else "")
    if top in _DISTRIBUTION:
        return f"{needs}, which is not installed. Run: pip install {_DISTRIBUTION[top]}"
    return (
        f"{needs}, which is not installed. If it is a package: pip install {top}. If it is a file of yours: put "
        f"{top}.py beside the model, or its folder on PYTHONPATH."
    )


def _class_of(content: bytes, module: str) -> str | None:
    """The first name that a pickle takes from a module."""
    quoted = re.escape(module.encode())
    # Protocols 0 to 3: c<module>\n<name>\n. From 4 on: two short strings, with an optional opcode between.
    for pattern in (
        rb"c" + quoted + rb"(?:\.[\w.]+)?\n(\w+)\n",
        quoted + rb"(?:\.[\w.]+)?\x94?\x8c.([A-Za-z_]\w*)",
    ):
        if found := re.search(pattern, content, re.DOTALL):
            return found[1].decode()
    return None


def _from_main(error: Exception) -> str | None:
    found = re.search(r"Can't get attribute '([^']+)' on <module '[\w.]*__main__'", str(error))
    return found[1] if found else None


def _content(path: Path) -> bytes:
    """The file's first bytes, without the compression that joblib may have put around them."""
    try:
        with path.open("rb") as file:
            raw = file.read(_SCANNED_BYTES)
        if raw[:2] == b"\x1f\x8b":
            return gzip.decompress(raw)
        if raw[:1] == b"\x78":
            return zlib.decompressobj().decompress(raw, _SCANNED_BYTES)
        if raw[:3] == b"BZh":
            return bz2.decompress(raw)
        if raw[:6] == b"\xfd7zXZ\x00" or raw[:3] == b"\x5d\x00\x00":
            return lzma.decompress(raw)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return b""
    return raw


@contextmanager
def _importable(folder: Path) -> Generator[None]:
    """A user's own modules lie beside the model; installed ones go first."""
    entry: Any = str(folder.resolve())
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
