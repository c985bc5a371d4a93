"""The gateway's admin socket: HTTP over a Unix socket, one request a connection."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from modelport.kube.part import mapping, objects, texts

ANSWER_S = 5.0


class NoGateway(Exception):
    """The gateway does not answer. The message says how."""


class Refused(Exception):
    """The gateway does not take the table. The message is its words."""


async def reload(socket: Path) -> tuple[int, dict[str, str]]:
    """Has the table read again. Returns the version that is in force now, and what of it is left out, by the route's
    name. Raises NoGateway, Refused."""
    status, answer = await _ask(socket, "POST", "/reload", ANSWER_S)
    if status >= 300:
        raise Refused(str(mapping(answer).get("error") or answer))
    problems = objects(mapping(answer).get("problems"))
    return _version(answer), {str(one.get("route")): str(one.get("message")) for one in problems}


async def acknowledged(socket: Path, version: int, timeout_s: float) -> int:
    """The version in force, once it is `version` or newer and nothing idle is left to endpoints that went, or when
    the time is up. It breaks off as soon as the gateway's process ends. Raises NoGateway."""
    wait_ms = int(timeout_s * 1000)
    path = f"/status?at_least={version}&timeout_ms={wait_ms}"
    _, answer = await _ask(socket, "GET", path, timeout_s + ANSWER_S)
    return _version(answer)


async def unknown_keys(socket: Path, after: int | None, timeout_s: float) -> tuple[int, list[str]]:
    """Issuers whose tokens came with keys that the gateway does not know, since the cursor `after`: as soon as there are
    any, or when the time is up. With the next cursor. Raises NoGateway."""
    since = "" if after is None else f"?after={after}&timeout_ms={int(timeout_s * 1000)}"
    _, answer = await _ask(socket, "GET", f"/unknown-keys{since}", timeout_s + ANSWER_S)
    found = mapping(answer)
    cursor = found.get("cursor")
    if not isinstance(cursor, int):
        raise NoGateway(f"it says nothing of unknown keys: {answer}")
    return cursor, texts(found.get("issuers"))


def _version(answer: Any) -> int:
    found = mapping(answer).get("version")
    if not isinstance(found, int):
        raise NoGateway(f"it says no version: {answer}")
    return found


async def _ask(socket: Path, method: str, path: str, timeout_s: float) -> tuple[int, Any]:
    """One exchange: status and decoded JSON, or text. The gateway gives every answer a length and closes after it."""
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
