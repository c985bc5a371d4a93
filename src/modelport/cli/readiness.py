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

    async def ask() -> str | None:
        async with Client.from_kubeconfig(folder.kubeconfig, timeout_s=5.0) as client:
            try:
                await client.request("GET", "/readyz", accept="*/*")
                node = await client.find(NODE, None, "local")
            except (Unreachable, ApiError):
                return "the API server"
        conditions = (node or {}).get("status", {}).get("conditions", [])
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            return "the node"
        return None

    if not folder.kubeconfig.exists():
        return "the API server"
    return asyncio.run(ask()) or (None if _gateway_answers(folder) else "the gateway")


def _gateway_answers(folder: Folder) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        try:
            connection.connect(str(folder.admin_socket))
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
