"""What the client needs of whatever carries its requests: over the network (`remote.py`), or over the socket of a
server on this machine (`own_socket.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

CONNECT_S = 30.0
"""How long it may take until a connection stands."""


class Broken(Exception):
    """Nobody answers there, or the connection broke amid the answer. The message says how."""


class Answer(Protocol):
    """An answer whose head has come. Read it whole, or line by line and close it; every method raises Broken."""

    @property
    def status(self) -> int:
        """HTTP's code."""
        ...

    def header(self, name: str) -> str:
        """A header by its name in lower case; empty where there is none."""
        ...

    async def read(self) -> bytes:
        """All of the body."""
        ...

    def lines(self) -> AsyncIterator[str]:
        """Its lines as they come, without their ends."""
        ...

    async def close(self) -> None:
        """Nothing more of it is wanted."""
        ...


class Transport(Protocol):
    """Carries requests to one server."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None = None,
        wait_s: float | None,
    ) -> Answer:
        """Sends a request and waits for the answer's head, and later for each part of its body, `wait_s` at most; None
        waits for ever. Raises Broken."""
        ...

    async def close(self) -> None:
        """Lets go of the connections."""
        ...
