"""A stand-in for the gateway's admin socket, to let it hang, refuse, die and come back when a test wants it.

`tests/e2e` has the real one. This one reads the table's file as the real one does.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from modelport.wire import table as wire
from modelport.wire.table import Table


class Standin:
    def __init__(self, table: Path, socket: Path) -> None:
        self.path, self.socket = table, socket
        self.table = Table(version=0)
        self.hangs = False
        """Takes tables over no more."""
        self.refuses = ""
        """A regular expression that it cannot compile."""
        self.is_older = False
        """Knows no table that we write: it refuses each, and begins without any."""
        self.leaves_out = False
        """Goes by the rest of a table with such an expression, and says so."""
        self.seen: list[int] = []
        self.strangers: list[str] = []
        """Issuers whose tokens came with unknown keys."""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.table = Table(version=0)
        if self.path.exists() and not self.is_older:
            self._load()
        self.socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    def kill(self) -> None:
        assert self._server is not None
        self._server.close()
        self._server = None

    def _load(self) -> None:
        self.table = wire.decode(self.path.read_bytes())
        self.seen.append(self.table.version)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode().split(" ", 2)
            status, body = await self._answer(method, target)
            text = json.dumps(body).encode()
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, target: str) -> tuple[int, object]:
        if (method, target) == ("POST", "/reload"):
            return self._reload()
        asked = parse_qs(urlsplit(target).query)
        if target.startswith("/unknown-keys"):
            return await self._unknown_keys(int(asked["after"][0]) if "after" in asked else None)
        wanted, wait_s = int(asked["at_least"][0]), int(asked["timeout_ms"][0]) / 1000
        end = asyncio.get_running_loop().time() + wait_s
        alive = self._server
        while (
            self._server is alive and self.table.version < wanted and asyncio.get_running_loop().time() < end
        ):
            await asyncio.sleep(0.005)
        if self._server is not alive:
            raise ConnectionError  # as of a process that is gone
        return (200 if self.table.version >= wanted else 408), {"version": self.table.version}

    async def _unknown_keys(self, after: int | None) -> tuple[int, object]:
        alive = self._server
        while self._server is alive and after is not None and len(self.strangers) <= after:
            await asyncio.sleep(0.005)
        if self._server is not alive:
            raise ConnectionError
        return 200, {
            "cursor": len(self.strangers),
            "issuers": self.strangers[after:] if after is not None else [],
        }

    def _reload(self) -> tuple[int, object]:
        if self.hangs:
            return 200, {"version": self.table.version}
        if self.is_older:
            return 422, {"error": "unknown field `colour`", "version": self.table.version}
        new = wire.decode(self.path.read_bytes())
        problems = [
            {
                "route": route.name,
                "message": f"routes[{index}] ({route.name}).rules[0]: {self.refuses!r} is none.",
            }
            for index, route in enumerate(new.routes)
            if self.refuses
            and any(self.refuses in m.path.value for rule in route.rules for m in rule.matches)
        ]
        if problems and not self.leaves_out:
            return 422, {"error": problems[0]["message"], "version": self.table.version}
        self._load()
        return 200, {"version": self.table.version, "problems": problems}
