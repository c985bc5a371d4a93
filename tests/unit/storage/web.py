"""A real HTTP server on loopback that keeps files, counts what it is asked, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """What lies at a path."""

    content: bytes
    type: str = "application/octet-stream"
    etag: str | None = ""
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    _digest: str | None = None

    @property
    def tag(self) -> str | None:
        return f'"{self._md5()}"' if self.etag == "" else self.etag

    def _md5(self) -> str:
        if self._digest is None:
            self._digest = hashlib.md5(self.content).hexdigest()
        return self._digest


class Web:
    """`files` by path. `before` may answer a request itself (returning True) or just watch."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.requests: list[tuple[str, str, dict[str, str], int]] = []
        self.before: Callable[[BaseHTTPRequestHandler], bool | None] = lambda handler: None
        self.cut: Callable[[str, int], int | None] = lambda path, length: None
        """How many bytes of a body to send before the connection is cut; None: all."""
        self.sent = 0
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments) -> None:
                pass

            def do_GET(self) -> None:
                web.answer(self)

            def do_HEAD(self) -> None:
                web.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"

    def put(self, path: str, content: bytes, **more) -> str:
        self.files[path] = File(content, **more)
        return f"{self.url}{path}"

    @property
    def gets(self) -> int:
        """Requests so far."""
        return len(self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.before(handler):
            return
        path = handler.path.partition("?")[0]
        sent = {name.lower(): value for name, value in handler.headers.items()}
        file = self.files.get(path)
        status = 404 if file is None else 200
        body = file.content if file is not None else b"nothing here"
        headers: dict[str, str] = {}
        if file is not None:
            headers = {"Content-Type": file.type, **file.headers}
            if file.tag is not None:
                headers["ETag"] = file.tag
                if sent.get("if-none-match") == file.tag:
                    status, body = 304, b""
            if file.ranges:
                headers["Accept-Ranges"] = "bytes"
                found = re.fullmatch(r"bytes=(\d+)-(\d*)", sent.get("range", ""))
                if found and status == 200 and sent.get("if-range", file.tag) == file.tag:
                    start, stop = int(found[1]), int(found[2] or len(body) - 1) + 1
                    headers["Content-Range"] = f"bytes {start}-{min(stop, len(body)) - 1}/{len(body)}"
                    status, body = (206, body[start:stop]) if start < len(body) else (416, b"")
        self.requests.append((handler.command, handler.path, sent, status))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "HEAD" or status == 304:
            return
        cut = self.cut(path, len(body))
        body = body if cut is None else body[:cut]
        for start in range(0, len(body), 1 << 16):
            handler.wfile.write(memoryview(body)[start : start + (1 << 16)])
            self.sent += min(1 << 16, len(body) - start)
        if cut is not None:
            handler.wfile.flush()
            handler.connection.shutdown(2)
            handler.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
