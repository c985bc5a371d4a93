"""Runs the application on a TLS port of the loopback, and on a socket for the platform's own programs, next to other
tasks of the same event loop."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import os
import socket
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelport.local.apiserver.store import Store

DRAIN_S = 5
"""How long requests in flight may take once the server stops."""
HEAD_LIMIT_BYTES = 1 << 20
"""What a request's head may have, roughly: it is counted by packets."""
BACKLOG = 1024
TLS_BUFFER_BYTES = 32 << 10
"""Of each connection. asyncio's own 256 KiB are for a few fast ones; here are dozens of watches that are silent."""
GOODBYE_S = 0.2
"""How long a client may take to close its end."""


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, but with a limit for heads, and without waiting as the server stops for the goodbye
    (TLS close_notify) of clients that sleep."""

    _head = 0
    """Bytes of the head that is being read; -1 once it is whole."""

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._head = -1
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """More of it. A head without end would fill the memory."""
        if self._head >= 0:
            self._head += len(data)
            if self._head > HEAD_LIMIT_BYTES:
                self.send_400_response("The request's head is too large.")
                return
        super().data_received(data)

    def _should_upgrade_to_ws(self) -> bool:
        # Late: most servers are never asked for a WebSocket.
        if self.ws_protocol_class is None:  # pyright: ignore[reportUnnecessaryComparison] - it is, by ws="none"
            from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

            self.ws_protocol_class = WSProtocol
        return True

    def shutdown(self) -> None:
        """The server stops."""
        super().shutdown()
        self.loop.call_later(GOODBYE_S, self._leave)

    def _leave(self) -> None:
        if self not in self.connections:
            return
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.loop.call_later(GOODBYE_S, self._leave)


class _Server(uvicorn.Server):
    """uvicorn, but signals are the program's own, and it sleeps until it is told to stop instead of looking often."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told = asyncio.Event()

    async def main_loop(self) -> None:
        """Until told to stop."""
        await self.on_tick(0)
        await self.told.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leaves them alone."""
        yield


async def serve(
    app: Starlette,
    store: Store,
    port: int,
    certificate: Path,
    key: Path,
    ready: asyncio.Event,
    *,
    host: str = "127.0.0.1",
    own: Path | None = None,
) -> None:
    """Serves until cancelled; then watches end, and requests in flight are answered.

    `own`: a Unix socket for the platform's programs besides, whose dozens of watches need no TLS; tokens they need
    like everybody. `ready` is set once it can be asked. OSError where the port or the certificate cannot be had.
    """
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    with ExitStack() as stack:
        listener = stack.enter_context(closing(_listen(host, port)))
        servers = {_Server(_config(app, certificate, key)): listener}
        if own is not None:
            servers[_Server(_config(app))] = stack.enter_context(closing(_listen_privately(own)))
        serving = [asyncio.create_task(server.serve(sockets=[at])) for server, at in servers.items()]
        try:
            while not all(server.started for server in servers):
                done, _ = await asyncio.wait(serving, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                    raise RuntimeError("the API server did not start; what its log says last is why")
            ready.set()
            await asyncio.shield(asyncio.gather(*serving))
        finally:
            store.end_watches()
            for server in servers:
                server.told.set()
            await asyncio.wait(serving, timeout=DRAIN_S + 2)


def _config(app: Starlette, certificate: Path | None = None, key: Path | None = None) -> uvicorn.Config:
    """With a certificate it is the server whose start and end are the application's."""
    return uvicorn.Config(
        app,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http=_Connection,
        ws="none",
        lifespan="on" if certificate else "off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _listen_privately(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a server that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"the API server cannot listen on {path}: {error.strerror or error}"
        ) from error
    return listener


def _listen(host: str, port: int) -> socket.socket:
    # uvicorn ends the whole process where it cannot bind.
    listener = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # For every connection accepted: else the end of each answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno,
            f"the API server cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. End what uses that port, or start "
            "another platform with --dir",
        ) from error
    return listener
