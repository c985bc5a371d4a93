"""Runs the application on a TLS port of the loopback, next to other tasks of the same event loop."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.applications import Starlette

    from modelport.local.apiserver.store import Store

DRAIN_S = 5
"""How long requests in flight may take once the server stops."""


class _Server(uvicorn.Server):
    """uvicorn, but signals are the program's own."""

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
) -> None:
    """Serves until cancelled; then watches end, and requests in flight are answered. OSError for a port in use."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=None,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            done, _ = await asyncio.wait({serving}, timeout=0.01)
            if done:
                serving.result()
                raise OSError(f"the API server does not start on {host}:{port}; its log says why")
        ready.set()
        await asyncio.shield(serving)
    finally:
        store.end_watches()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=DRAIN_S + 2)
