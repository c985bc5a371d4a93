"""Whether a platform that was started answers yet, and what its programs say where it does not."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport.local.folder import Folder


def last_lines(folder: Folder, count: int = 5) -> list[str]:
    """What each of the platform's programs said last."""
    found: list[str] = []
    for role in ("supervisor", "control", "node", "gateway"):
        with contextlib.suppress(OSError):
            lines = (folder.logs / f"{role}.log").read_text(errors="replace").splitlines()[-count:]
            found += [f"  {role}: {line}" for line in lines]
    return found


def missing_part(folder: Folder) -> str | None:
    """What does not answer yet, or None when requests and applies are welcome."""
    import asyncio

    from modelport.kube.client import Client, Unreachable
    from modelport.kube.errors import ApiError
    from modelport.kube.resource import NODE
    from modelport.local import process

    async def ask() -> str | None:
        async with Client.from_kubeconfig(folder.kubeconfig, timeout_s=5.0) as client:
            try:
                await client.request("GET", "/readyz", accept="*/*")
                node = await client.find(NODE, None, "local")
            except (Unreachable, ApiError):
                return "the API server"
        status = (node or {}).get("status", {})
        # What the store has kept of a node before this one says nothing.
        ours = status.get("nodeInfo", {}).get("bootID") == process.mark(
            process.read(folder.run / "node.json")
        )
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        if not (ours and ready):
            return "the node"
        return None

    if not folder.kubeconfig.exists():
        return "the API server"
    return asyncio.run(ask()) or (None if _gateway_answers(folder) else "the gateway")


def stopped_since(folder: Folder, moment: float) -> bool:
    """Whether somebody has stopped the platform since this moment (seconds of the epoch)."""
    try:
        return folder.stopping.stat().st_mtime >= moment
    except OSError:
        return False


def is_of_before(folder: Folder) -> bool:
    """Whether a service calls itself Ready while it has pods and none of them is: it was kept from before the start,
    and is about to be told otherwise."""
    import asyncio

    from modelport.kinds.inferenceservice import INFERENCE_SERVICE
    from modelport.kube.client import Client, Unreachable
    from modelport.kube.condition import is_true
    from modelport.kube.errors import ApiError
    from modelport.kube.resource import POD

    async def ask() -> bool:
        async with Client.from_kubeconfig(folder.kubeconfig, timeout_s=5.0) as client:
            services = (await client.list(INFERENCE_SERVICE)).items
            pods = (await client.list(POD)).items if services else []
        ready: dict[tuple[str, str], bool] = {}
        for pod in pods:
            meta = pod["metadata"]
            key = meta["namespace"], meta.get("labels", {}).get("serving.kserve.io/inferenceservice", "")
            ready[key] = ready.get(key, False) or is_true(pod, "Ready")
        names = [
            (one["metadata"]["namespace"], one["metadata"]["name"])
            for one in services
            if is_true(one, "Ready")
        ]
        return any(not ready.get(name, True) for name in names)

    try:
        return asyncio.run(ask())
    except (Unreachable, ApiError):
        return False


def _gateway_answers(folder: Folder) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        try:
            connection.connect(str(folder.admin_socket))
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
