"""A small Hugging Face hub: what its official client asks for, answered from a dict. The client itself is the judge."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 1 << 10
"""Files from this size on are kept in LFS: elsewhere, named by SHA-256."""


class Hub:
    """Repositories: name to revision to path to content."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.private: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.cdn_authorizations: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.cdn = f"http://localhost:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def commit(files: dict[str, bytes]) -> str:
        named = sorted((path, blob(content)) for path, content in files.items())
        return hashlib.sha1(repr(named).encode()).hexdigest()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        sent = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.command, handler.path, sent))
        if found := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            self.cdn_authorizations.append(sent.get("authorization"))
            content = next(
                body
                for revisions in self.repositories.values()
                for files in revisions.values()
                for body in files.values()
                if sha256(body) == found[1]
            )
            return self._bytes(handler, content, sent, {"ETag": f'"cdn-{found[1][:8]}"'})
        matched = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name = (matched or file)[1] if matched or file else ""
        if name not in self.repositories or self.private.get(name, "") not in (
            "",
            sent.get("authorization", ""),
        ):
            return self._error(handler, 401, "RepoNotFound", "Repository Not Found")
        if name in self.gated:
            return self._error(handler, 403, "GatedRepo", "Access to this model is restricted")
        wanted = (matched[3] if matched else file[2]) or "main"
        files = next(
            (
                files
                for revision, files in self.repositories[name].items()
                if wanted in (revision, self.commit(files))
            ),
            None,
        )
        if files is None:
            return self._error(handler, 404, "RevisionNotFound", f"Invalid rev id: {wanted}")
        if file:
            content = files.get(file[3])
            if content is None:
                return self._error(handler, 404, "EntryNotFound", "Entry not found")
            headers = {"X-Repo-Commit": self.commit(files), "ETag": f'"{blob(content)}"'}
            if len(content) < LARGE:
                return self._bytes(handler, content, sent, headers)
            digest = sha256(content)
            headers |= {
                "X-Linked-ETag": f'"{digest}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{self.cdn}/cdn/{digest}",
            }
            return self._send(handler, 302, b"", headers)
        entries = [entry(path, content) for path, content in sorted(files.items())]
        if matched[2] == "tree":
            tree = [
                {"type": "file", "path": one["rfilename"], "size": one["size"], "oid": one["blobId"]}
                | (
                    {"lfs": {"oid": one["lfs"]["sha256"], "size": one["size"], "pointerSize": 130}}
                    if "lfs" in one
                    else {}
                )
                for one in entries
            ]
            return self._json(handler, tree)
        return self._json(
            handler,
            {
                "id": name,
                "modelId": name,
                "sha": self.commit(files),
                "siblings": entries,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            },
        )

    def _json(self, handler, value) -> None:
        self._send(handler, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, handler, status: int, code: str, message: str) -> None:
        self._send(handler, status, b"{}", {"X-Error-Code": code, "X-Error-Message": message})

    def _bytes(self, handler, content: bytes, sent, headers) -> None:
        headers = {**headers, "Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", sent.get("range", ""))
        if not found:
            return self._send(handler, 200, content, headers)
        start, stop = int(found[1]), min(int(found[2] or len(content) - 1) + 1, len(content))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._send(handler, 206, content[start:stop], headers)

    def _send(self, handler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


@cache
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict:
    found = {"rfilename": path, "size": len(content), "blobId": blob(content)}
    if len(content) >= LARGE:
        found["lfs"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 130,
        }
    return found
