"""Which scheme a URI has: a file a scheme, each with one function `resolve(uri, context)`."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import threading
from pathlib import Path
from typing import Any, Final, cast

from modelport.storage.failure import Cancelled, StorageError
from modelport.storage.source import Context, Found, InPlace
from modelport.storage.uri import redact

GROUP: Final = "modelport.storage"
"""Entry points that add schemes: `dvc = "my_package.dvc:resolve"`."""

TABLE: Final[tuple[tuple[str, str], ...]] = (
    (r"file://|/|\.{0,2}/|[A-Za-z0-9_.~-]+(/|$)", "local"),
    (r"pvc://", "pvc"),
    (r"s3://", "s3"),
    (r"gs://", "gs"),
    (r"(abfss?|wasbs?|az)://", "azure"),
    (
        r"https://[^/]+\.(blob|dfs)\.core\.windows\.net/|https://[^/]+\.z\d{1,2}\.blob\.storage\.azure\.net/",
        "azure",
    ),
    (
        r"https://[^/]+\.file\.core\.windows\.net/|https://[^/]+\.z\d{1,2}\.file\.storage\.azure\.net/",
        "azurefile",
    ),
    (r"hf://", "hf"),
    (r"modelscope://", "modelscope"),
    (r"oci(\+native|\+fetch)?://", "oci"),
    (r"models:/", "mlflow"),
    (r"(web)?hdfs://", "hdfs"),
    (r"git(\+https?)?://|https?://[^?#]+\.git(@|$|#|/)", "git"),
    (r"https?://", "http"),
)
"""Patterns over the beginning of a URI, the first that fits decides, and files of this folder."""

TRUSTED_LOCAL: Final = ("local", "pvc")


def resolve(uri: str, context: Context) -> Found:
    """Asks the store what a URI is now. Raises StorageError."""
    function = _function(uri)
    try:
        return function(uri, context)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(
            "resolve",
            f"the store's answer is not understood ({type(error).__name__}: {error})",
            "Does this address belong to a store of that kind?",
        ) from error


def in_place(uri: str, context: Context) -> InPlace | None:
    """The model where it lies, if it is on this machine and used as it is; None where it has to be fetched."""
    if name_of(uri) not in TRUSTED_LOCAL:
        return None
    found = resolve(uri, context)
    return found if isinstance(found, InPlace) else None


def name_of(uri: str) -> str:
    """The scheme's file here, or its own name where a third party has it. Raises StorageError for an unknown one."""
    for pattern, name in TABLE:
        if re.match(pattern, uri):
            return name
    scheme = uri.partition(":")[0]
    if scheme in added():
        return scheme
    raise StorageError(
        "resolve",
        f"there is no scheme {scheme}://",
        "Schemes: " + ", ".join(known()),
        reason="InvalidURI",
        uri=redact(uri),
    )


def known() -> list[str]:
    """The schemes there are, as people write them."""
    return [
        "file://", "pvc://", "http(s)://", "s3://", "gs://", "abfs:// and https://…blob.core.windows.net/", "hf://",
        "oci://", "https://….git", "models:/", "https://…file.core.windows.net/", "webhdfs://", "hdfs://",
        "modelscope://", *(f"{name}://" for name in sorted(added())),
    ]  # fmt: skip


def added() -> dict[str, Any]:
    """Entry points by scheme."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def _function(uri: str) -> Any:
    name = name_of(uri)
    point = added().get(uri.partition(":")[0]) if name not in dict(TABLE).values() else None
    if point is not None:
        return point.load()
    return cast("Any", importlib.import_module(f"{__name__}.{name}")).resolve


def survey(path: Path, cancel: threading.Event) -> tuple[str, int, list[str]]:
    """A digest of names, sizes and times below a path, the size, and the files: for models used in place.

    It is cheap, and another one as soon as anything is written there.
    """
    digest = hashlib.sha256(str(path).encode())
    total = 0
    found: list[str] = []
    files = [path] if path.is_file() else _walk(path, cancel)
    for file in files:
        try:
            seen = file.stat()
        except OSError:
            continue  # a link to nowhere, or a file that was just removed
        name = file.relative_to(path).as_posix() if file != path else file.name
        digest.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\0{seen.st_ino}\n".encode())
        total += seen.st_size
        found.append(name if file != path else "")
    return f"stat:{digest.hexdigest()}", total, found


def _walk(path: Path, cancel: threading.Event) -> list[Path]:
    files: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        if cancel.is_set():
            raise Cancelled
        files += [Path(folder) / name for name in sorted(names)]
    return files
