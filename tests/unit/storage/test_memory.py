"""A model is larger than memory: fetching it must not be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelport.storage import clone

SIZE = int(os.environ.get("MODELPORT_LARGE_MODEL_BYTES", str(1 << 30)))
LIMIT = 100 << 20

SERVER = r"""
import http.server, os, re, socketserver, sys
size = int(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        if "list-type=2" in self.path:
            body = (f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>m/model.bin</Key><Size>{size}</Size>"
                    f'<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"large"</ETag></Contents></ListBucketResult>').encode()
            self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
            self.wfile.write(body)
            return
        found = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(found[1]), int(found[2] or size - 1) + 1) if found else (0, size)
        self.send_response(206 if found else 200)
        if found: self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("ETag", '"large"'); self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start)); self.end_headers()
        self.wfile.flush()
        with open(sys.argv[2], "rb") as file:
            try:
                while start < stop:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, min(1 << 20, stop - start))
            except OSError: pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

CLIENT = r"""
import sys, threading, time
from pathlib import Path
from modelport import storage

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    return 0

most = 0
done = threading.Event()
def watch():
    global most
    while not done.wait(0.02):
        most = max(most, anonymous())
threading.Thread(target=watch, daemon=True).start()
from modelport.storage.credentials import of
given = of({"AWS_ENDPOINT_URL": sys.argv[3]}, "test")
fetched = storage.fetch(sys.argv[1], cache=storage.Cache(Path(sys.argv[2])), credentials=given)
done.set()
print(most, fetched.bytes)
"""


GROUPS = Path("/sys/fs/cgroup/memory")
"""Version 1's, where this machine has it and lets us make one."""


@pytest.fixture
def group(tmp_path):
    """The tasks file of a control group of 256 MiB, page cache included; None where there can be none."""
    folder = GROUPS / f"modelport-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(256 << 20))
    except OSError:
        yield None
        return
    yield folder / "cgroup.procs"
    folder.rmdir()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("uri", ["http://HOST/model.bin", "s3://bucket/m"])
def test_a_large_model_needs_little_memory(tmp_path, group, uri):
    """KServe's storage initializer is killed for its memory on large models."""
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(SIZE)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(SIZE), str(source)], stdout=subprocess.PIPE, text=True
    )
    try:
        host = f"127.0.0.1:{server.stdout.readline().strip()}"
        client = subprocess.run(
            [
                sys.executable,
                "-c",
                CLIENT,
                uri.replace("HOST", host),
                str(tmp_path / "cache"),
                f"http://{host}",
            ],
            capture_output=True,
            text=True,
            preexec_fn=(lambda: group.write_text(str(os.getpid())) and None) if group else None,
        )
        assert client.returncode == 0, client.stderr
        most, size = map(int, client.stdout.split())
        assert size == SIZE
        assert most < LIMIT, f"{most >> 20} MiB of anonymous memory"
        print(f"{uri}: {most >> 20} MiB of anonymous memory, {'256 MiB group' if group else 'no group'}")
    finally:
        server.kill()
        server.wait()
        clone.remove(tmp_path / "cache")
