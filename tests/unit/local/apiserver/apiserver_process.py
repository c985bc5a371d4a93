"""An API server alone in a process, as the tests start and kill it: python apiserver_process.py DIR PORT."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import signal
import sys
from pathlib import Path

import msgspec
from apiserver_widget import WIDGETS

from modelport import _dataplane
from modelport.kinds.catalog import KINDS
from modelport.kube.resource import Object
from modelport.local.apiserver.app import build
from modelport.local.apiserver.kinds import declared
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.serve import serve
from modelport.local.apiserver.standard import standard
from modelport.local.apiserver.store import Store
from modelport.local.apiserver.tokens import Tokens
from modelport.local.execute import execution
from modelport.local.folder import Folder, Settings

ROLES = ("admin", "edit", "view")
NETWORK = "127.99"
SETTINGS = Settings(gateway_port=8080, api_port=0, pod_network=NETWORK)


def log_file(folder: Path, pod: Object, container: str, previous: bool) -> Path | None:
    """FOLDER/NAMESPACE_NAME/CONTAINER/RUN.log."""
    meta = pod["metadata"]
    place = folder / "pods" / f"{meta['namespace']}_{meta['name']}" / container
    runs = sorted(place.glob("*.log"), key=lambda path: int(path.stem))
    if previous:
        return runs[-2] if len(runs) > 1 else None
    return runs[-1] if runs else place / "0.log"


def prepare(folder: Path, port: int) -> None:
    """Certificates, tokens (each role's is `token-ROLE`) and kubeconfigs."""
    authority, certificate, key = _dataplane.self_signed(["127.0.0.1", "localhost"], 30)
    (folder / "ca.pem").write_text(authority)
    (folder / "server.pem").write_text(certificate)
    (folder / "server.key").write_text(key)
    tokens = [
        {"name": role, "role": role, "sha256": hashlib.sha256(f"token-{role}".encode()).hexdigest()}
        for role in ROLES
    ]
    (folder / "tokens.json").write_bytes(msgspec.json.encode({"tokens": tokens}))
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
    }
    for role in ROLES:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": role, "user": {"token": f"token-{role}"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": role}}],
            "current-context": "test",
        }
        (folder / f"kubeconfig-{role}").write_bytes(msgspec.json.encode(config))


async def run(folder: Path, port: int) -> None:
    """Until SIGTERM."""
    store = Store(folder / "state.db")
    registry = Registry([*standard(NETWORK), *declared([*KINDS, *WIDGETS])])
    app = build(
        store,
        registry,
        tokens=Tokens(folder / "tokens.json"),
        log_files=lambda pod, container, previous: log_file(folder, pod, container, previous),
        execute=lambda pod, container, command, find: execution(
            pod, container, command, find, SETTINGS, Folder(folder)
        ),
    )
    ready = asyncio.Event()
    serving = asyncio.create_task(
        serve(app, store, port, folder / "server.pem", folder / "server.key", ready, own=folder / "api.sock")
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
