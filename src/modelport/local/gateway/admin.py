"""The gateway's admin socket: HTTP over a Unix socket, one request a connection."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec


class NoGateway(Exception):
    """The gateway does not answer."""


async def ask(socket: Path, method: str, path: str, timeout_s: float) -> tuple[int, Any]:
    """One exchange: status and decoded JSON, or text. Raises NoGateway."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                writer.write(head.encode())
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise NoGateway(str(error) or type(error).__name__) from error
    head_bytes, _, body = answer.partition(b"\r\n\r\n")
    words = head_bytes.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():
        raise NoGateway("its answer is no HTTP")
    try:
        return int(words[1]), msgspec.json.decode(body)
    except msgspec.DecodeError:
        return int(words[1]), body.decode(errors="replace")


async def reload(socket: Path) -> str | None:
    """Has the table read again: None where it is in force, else what is wrong with it. Raises NoGateway."""
    status, answer = await ask(socket, "POST", "/reload", 5.0)
    return None if status < 300 else str(answer)


async def acknowledged(socket: Path, version: int, timeout_s: float) -> bool:
    """Whether that version, or a newer one, is in force, and nothing idle is left to endpoints that went."""
    wait_ms = int(timeout_s * 1000)
    _, answer = await ask(socket, "GET", f"/status?at_least={version}&timeout_ms={wait_ms}", timeout_s + 2.0)
    return isinstance(answer, dict) and int(answer.get("version", -1)) >= version  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
