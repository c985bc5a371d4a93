"""OpenSSF model signing: whether a model's files are those that somebody vouched for."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelport.storage.failure import StorageError

SIGNATURE = "model.sig"
"""The bundle's name in the model's folder, as `model_signing sign` leaves it."""


@dataclass(frozen=True)
class Signer:
    """Who must have signed. Either a key, or an identity that Sigstore vouches for."""

    public_key: Path | None = None
    """PEM file of an elliptic-curve key."""
    identity: str = ""
    """As in the certificate: an e-mail address, or a workflow's URL."""
    issuer: str = ""
    """Who vouches for the identity: `https://accounts.google.com`."""

    def name(self) -> str:
        """Tells signers apart, a key that was replaced under the same name included."""
        key = self.public_key.read_bytes() if self.public_key is not None else b""
        text = f"{self.identity}\0{self.issuer}\0".encode() + key
        return hashlib.sha256(text).hexdigest()[:32]


def verify_once(model: Path, signer: Signer) -> None:
    """The same for a model in the cache, which cannot change unnoticed: verified once a signer."""
    try:
        marker = model.parent / f"signed-by-{signer.name()}"
    except OSError as error:
        raise StorageError(
            "verify",
            f"the signer's key {signer.public_key} cannot be read: {error.strerror}",
            "Correct the settings' signature.public_key",
            reason="Refused",
        ) from error
    if not marker.exists():
        verify(model, signer)
        marker.touch(mode=0o600)


def verify(model: Path, signer: Signer) -> None:
    """Raises StorageError unless the model has a signature of this signer over all its files."""
    signature = model / SIGNATURE
    if not signature.is_file():
        raise StorageError(
            "verify",
            f"it has no signature ({SIGNATURE}), and the policy asks for one",
            f"Sign it: model_signing sign key MODEL --signature MODEL/{SIGNATURE} --private_key KEY.pem",
            reason="Refused",
        )
    try:
        library: Any = importlib.import_module("model_signing")
    except ImportError as error:
        raise StorageError(
            "verify",
            "the policy asks for a signature, and the library that checks it is not installed",
            "Run: pip install 'modelport[signing]'",
            reason="Unsupported",
        ) from error
    hashing = library.hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=True)
    config = library.verifying.Config().set_hashing_config(hashing)
    if signer.public_key is not None:
        config = config.use_elliptic_key_verifier(public_key=signer.public_key)
        who = f"the key {signer.public_key}"
    else:
        config = config.use_sigstore_verifier(identity=signer.identity, oidc_issuer=signer.issuer)
        who = f"{signer.identity} ({signer.issuer})"
    try:
        config.verify(model, signature)
    except Exception as error:
        raise StorageError(
            "verify",
            f"its signature is not one of {who} over these files: {error}",
            "Sign it again if the change was yours; else do not use it",
            reason="Refused",
        ) from error
