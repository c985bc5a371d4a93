"""What a platform's clients know it by, made once: its certificate, tokens of three roles, and their kubeconfigs."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from modelport.local.folder import Folder, Settings


def make(folder: Folder, settings: Settings) -> None:
    """What is not there yet."""
    _certificates(folder)
    _tokens(folder, settings)


def _certificates(folder: Folder) -> None:
    """The API server's certificate, and the authority that its clients trust."""
    from modelport import _dataplane
    from modelport.local.folder import write

    if folder.key.exists() and folder.certificate.exists() and folder.authority.exists():
        return
    names = ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc"]
    authority, certificate, key = _dataplane.self_signed(names, 3650)
    write(folder.authority, authority.encode(), 0o644)
    write(folder.certificate, certificate.encode(), 0o644)
    write(folder.key, key.encode())


def _tokens(folder: Folder, settings: Settings) -> None:
    """Tokens of three roles, and a kubeconfig with the administrator's."""
    from modelport.local.folder import write

    if folder.kubeconfig.exists() and folder.tokens.exists():
        return
    tokens = {role: secrets.token_urlsafe(32) for role in ("admin", "edit", "view")}
    kept = [
        {"name": role, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for role, token in tokens.items()
    ]
    write(folder.tokens, msgspec.json.format(msgspec.json.encode({"tokens": kept})))
    for role, token in tokens.items():
        path = folder.kubeconfig if role == "admin" else folder.path / f"kubeconfig-{role}"
        write(path, _kubeconfig(folder, settings, token))


def _kubeconfig(folder: Folder, settings: Settings, token: str) -> bytes:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "modelport",
                "cluster": {
                    "server": f"https://127.0.0.1:{settings.api_port}",
                    "certificate-authority-data": _base64(folder.authority.read_bytes()),
                },
            }
        ],
        "users": [{"name": "modelport", "user": {"token": token}}],
        "contexts": [
            {
                "name": "modelport",
                "context": {"cluster": "modelport", "user": "modelport", "namespace": "default"},
            }
        ],
        "current-context": "modelport",
    }
    return msgspec.yaml.encode(config)


def _base64(content: bytes) -> str:
    import base64

    return base64.b64encode(content).decode()
