"""`pvc://claim/path`: a folder of a PersistentVolumeClaim, used where it lies."""

from __future__ import annotations

from modelport.storage.failure import StorageError
from modelport.storage.scheme import local
from modelport.storage.source import Context, Found
from modelport.storage.uri import safe_path


def resolve(uri: str, context: Context) -> Found:
    """The claim's folder comes from the caller, who knows the namespace and its volumes."""
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    if not claim:
        raise StorageError("resolve", "it names no claim", "Write pvc://CLAIM/PATH", reason="InvalidURI")
    if context.claims is None:
        raise StorageError(
            "resolve",
            "PersistentVolumeClaims are known to the platform only",
            "Use an InferenceService, or give the folder itself",
            reason="Unsupported",
        )
    try:
        folder = context.claims(claim)
    except LookupError as error:
        raise StorageError(
            "resolve",
            str(error.args[0]) if error.args else f"there is no PersistentVolumeClaim {claim}",
            "kubectl get pvc lists those of the namespace",
            reason="NotFound",
        ) from error
    found = folder / safe_path(path) if path.strip("/") else folder
    if not found.resolve().is_relative_to(folder.resolve()):
        raise StorageError(
            "resolve", f"{path} leads out of the claim {claim}", "Use a path inside it", reason="Refused"
        )
    return local.of_path(found, context)
