"""A TCP proxy on loopback that cuts, stalls or encrypts: what lies between a store and us."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading


class Proxy:
    """Passes connections on to `target`. `limit()` says after how many bytes from the store one is cut; None: never.

    With `stall` nothing more comes instead, and the connection stays open.
    """

    def __init__(
        self, target: str, *, limit=lambda: None, stall=False, context: ssl.SSLContext | None = None
    ) -> None:
        host, _, port = target.partition("://")[2].partition(":")
        self._target = (host, int(port))
        self._limit = limit
        self._context = context
        self._stall = stall
        self._closed = threading.Event()
        self.connections = 0
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._closed.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            store = socket.create_connection(self._target)
            threading.Thread(target=self._pass, args=(client, store, None), daemon=True).start()
            self._pass(store, client, self._limit())

    def _pass(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if limit is not None and passed + len(data) > limit:
                    target.sendall(data[: limit - passed])
                    self.cut += 1
                    if self._stall:
                        self._closed.wait()
                    break
                passed += len(data)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def sometimes(seed: int, chance: float, most: int):
    """A limit for some connections, the same for the same seed."""
    dice = random.Random(seed)
    return lambda: dice.randrange(1, most) if dice.random() < chance else None
