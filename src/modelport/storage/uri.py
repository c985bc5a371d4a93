"""URIs as people write them: what may be shown of one, and the pin that one may carry."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from modelport.storage.failure import StorageError

_SENSITIVE = re.compile(r"(?i)(sig|signature|token|secret|password|credential|key|auth)")
DEPTH = 100
"""Folders in each other, at most: a store that names more goes round in a circle."""
_PIN = re.compile(r"#sha256[=:]([0-9a-fA-F]{64})$")


def redact(uri: str) -> str:
    """The URI without passwords and signatures, for words, logs and files."""
    if "://" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    netloc = parts.netloc
    if "@" in netloc and parts.scheme not in ("abfs", "abfss", "wasb", "wasbs"):
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:[redacted]@{host}" if ":" in user else netloc
    query = parts.query
    if query:
        query = "&".join(
            f"{name}=[redacted]" if _SENSITIVE.search(name) else f"{name}={value}"
            for name, value in parse_qsl(query, keep_blank_values=True)
        )
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


def pin(uri: str) -> tuple[str, str | None]:
    """A URI without `#sha256=…`, and that digest."""
    found = _PIN.search(uri)
    return (uri[: found.start()], found[1].lower()) if found else (uri, None)


def last_segment(uri: str) -> str:
    """The last name of its path, decoded: what a file there would be called."""
    path = urlsplit(uri).path if "://" in uri else uri
    return unquote(path.rstrip("/").rpartition("/")[2])


def safe_path(path: str) -> str:
    """A path inside a model's folder as it is written to disk. Raises where it would lead out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or path.startswith("/") or any("\0" in part for part in parts):
        raise StorageError(
            "list",
            f"the store names a file {path!r}, which would lie outside the model's folder",
            "Rename it in the store, or leave it out with STORAGE_IGNORE_PATTERNS",
            reason="Refused",
        )
    return "/".join(parts)


def too_deep(path: str) -> StorageError:
    """A store whose folders do not end."""
    return StorageError(
        "list",
        f"there are more than {DEPTH} folders in each other at {path[:200]}",
        "Give the model's own folder",
        reason="Refused",
    )
