"""What may be loaded: formats that run code, where they may come from, and the safe form of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from modelport.storage.failure import StorageError
from modelport.storage.signature import Signer

SAFE_FORM = {
    ".pkl": "skops (scikit-learn), ONNX or safetensors",
    ".pickle": "skops (scikit-learn), ONNX or safetensors",
    ".joblib": "skops: modelport.save(model, 'model.skops')",
    ".dill": "skops or ONNX",
    ".cloudpickle": "skops or ONNX",
    ".pt": "an exported program (.pt2), ONNX or safetensors",
    ".pth": "an exported program (.pt2), ONNX or safetensors",
    ".ckpt": "safetensors",
    ".bin": "safetensors",
    ".npy": "an array without objects: numpy.save(…, allow_pickle=False)",
}
"""Formats that can run code when they are loaded, by ending; `.bin` and `.npy` only where their bytes say so."""
_BY_CONTENT = {".bin", ".npy"}


@dataclass(frozen=True)
class Policy:
    """What to do about what was fetched."""

    unsafe: Literal["allow", "warn", "deny"] = "warn"
    """About pickles and the like from a source that is not trusted. Files of this machine are trusted."""
    trusted: tuple[str, ...] = ()
    """Prefixes of URIs that are trusted: `s3://models/`. They are compared after mirrors have been applied."""
    signer: Signer | None = None
    """Who must have signed the model (OpenSSF model signing); None: nobody need."""

    def trusts(self, uri: str) -> bool:
        """Whether pickles from there are nobody's worry."""
        return uri.startswith(("/", ".", "file://", "pvc://")) or any(
            uri.startswith(prefix)
            and (prefix.endswith("/") or uri[len(prefix) : len(prefix) + 1] in ("", "/", ":"))
            for prefix in self.trusted
        )

    def check(self, uri: str, model: Path, paths: Iterable[str]) -> tuple[str, ...]:
        """Warnings about unsafe files. Raises StorageError where they are denied."""
        if self.unsafe == "allow" or self.trusts(uri):
            return ()
        found = [sentence for path in paths if (sentence := unsafe(model / path, path)) is not None]
        if found and self.unsafe == "deny":
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise StorageError(
                "verify",
                f"{found[0]}{more}, and this source is not trusted",
                "Save it in the safe form, or name the source as trusted in the storage settings",
                reason="Refused",
            )
        return tuple(found)


def unsafe(place: Path, path: str) -> str | None:
    """Why a file can run code when it is loaded, and its safe form; None where it cannot."""
    ending = PurePosixPath(path).suffix.lower()
    if ending in (".npz", ".safetensors", ".onnx", ".skops", ".ubj", ".json", ".txt", ".cbm", ".pt2"):
        return None
    by_content = _pickled(place)
    if by_content or (ending in SAFE_FORM and ending not in _BY_CONTENT):
        form = SAFE_FORM.get(ending, "a format that holds data only, such as ONNX or safetensors")
        return (
            f"{path} is a pickle or holds one, which can run code when it is loaded; the safe form is {form}"
        )
    return None


def _pickled(place: Path) -> bool:
    """By the first bytes: a pickle of protocol 2 and later, or PyTorch's zip with one inside."""
    try:
        with place.open("rb") as file:
            head = file.read(256)
    except OSError:
        return False
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if head.startswith(b"\x93NUMPY") and b"'descr': '|O'" in head:
        return True
    return head.startswith(b"PK\x03\x04") and b"/data.pkl" in head
