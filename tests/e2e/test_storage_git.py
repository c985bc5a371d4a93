"""`https://….git` against git's own http-backend."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(GIT is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        [GIT, "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path):
    """A bare repository with two commits, a tag and a branch."""
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    (work / "model.onnx").write_bytes(b"one")
    (work / "run.sh").write_bytes(b"#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    git(work, "add", ".")
    git(work, "commit", "-qm", "one")
    git(work, "tag", "-a", "v1", "-m", "v1")
    (work / "model.onnx").write_bytes(b"two")
    git(work, "commit", "-qam", "two")
    git(work, "branch", "feature/x")
    git(tmp_path, "clone", "-q", "--bare", str(work), str(tmp_path / "served" / "models.git"))
    return work


@pytest.fixture
def server(tmp_path, repository):
    """git http-backend behind a CGI server of the standard library; `passwords` makes it private."""
    backend = Path(
        subprocess.run([GIT, "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    )
    program = backend / "git-http-backend"
    if not program.exists():
        pytest.skip("git-http-backend is not installed")

    class Handler(http.server.BaseHTTPRequestHandler):
        passwords: str | None = None

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self.run(b"")

        def do_POST(self):
            self.run(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def run(self, body):
            if self.passwords:
                packed = base64.b64encode(self.passwords.encode()).decode()
                if self.headers.get("Authorization") != f"Basic {packed}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.end_headers()
                    return
            parts = urlsplit(self.path)
            environment = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(tmp_path / "served"),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            out = subprocess.run(
                [program], input=body, capture_output=True, env=environment, check=False
            ).stdout
            head, _, content = out.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/models.git", Handler
    served.shutdown()
    served.server_close()


@pytest.fixture
def fetch(tmp_path):
    def bound(uri, values=None, **more):
        more.setdefault("retry", storage.Retry(budget_s=1.0, first_s=0.01))
        given = of(values or {}, "Secret default/git")
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=given, **more)

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize(
    ("form", "content"), [("{}", b"two"), ("{}@v1", b"one"), ("git+{}@feature/x", b"two"), ("{}#v1", b"one")]
)
def test_branches_and_tags(server, fetch, form, content):
    fetched = fetch(form.format(server[0]))
    assert files(fetched.path) == {"model.onnx": content, "run.sh": b"#!/bin/sh\n"}
    assert (fetched.path / "run.sh").stat().st_mode & 0o111
    assert fetch(form.format(server[0])).from_cache


def test_a_commit(server, fetch, repository):
    commit = git(repository, "rev-parse", "v1^{commit}").strip()
    assert files(fetch(f"{server[0]}@{commit}").path)["model.onnx"] == b"one"


def test_a_private_repository(server, fetch, monkeypatch):
    uri, handler = server
    monkeypatch.setattr(handler, "passwords", "team:hidden")
    with pytest.raises(StorageError, match=r"wants to know who asks. Give GIT_USERNAME and GIT_PASSWORD"):
        fetch(uri)
    with pytest.raises(
        StorageError, match=r"does not accept the credential \(with the password of Secret default/git\)"
    ) as failed:
        fetch(uri, {"GIT_USERNAME": "team", "GIT_PASSWORD": "guess"})
    assert "guess" not in str(failed.value)
    assert files(fetch(uri, {"GIT_USERNAME": "team", "GIT_PASSWORD": "hidden"}).path)["model.onnx"] == b"two"


def test_what_is_not_there(server, fetch):
    with pytest.raises(StorageError, match="has no branch or tag v9"):
        fetch(f"{server[0]}@v9")
    with pytest.raises(StorageError, match="there is no repository"):
        fetch(server[0].replace("models.git", "other.git"))


def test_a_link_out_of_the_repository_is_refused(server, fetch, repository, tmp_path):
    (repository / "passwd").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "evil")
    git(repository, "push", "-q", str(tmp_path / "served" / "models.git"), "main")
    with pytest.raises(StorageError, match="outside the repository"):
        fetch(server[0])


def test_a_pointer_of_lfs_is_not_taken_for_a_model(server, fetch, repository, tmp_path):
    (repository / "large.bin").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n"
    )
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "lfs")
    git(repository, "push", "-q", str(tmp_path / "served" / "models.git"), "main")
    with pytest.raises(
        StorageError, match=r"large.bin is kept in Git LFS, and 127.0.0.1:\d+ has no server for"
    ):
        fetch(server[0])
    assert set(files(fetch(server[0], patterns=storage.Patterns(ignore=("large.bin",))).path)) == {
        "model.onnx",
        "run.sh",
    }


def test_a_damaged_pointer_is_named(server, fetch, repository, tmp_path):
    (repository / "large.bin").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "lfs")
    git(repository, "push", "-q", str(tmp_path / "served" / "models.git"), "main")
    with pytest.raises(StorageError, match=r"large.bin is a pointer of Git LFS that is not understood"):
        fetch(server[0])


def test_a_redirect_is_followed_without_the_password(server, fetch):
    """git itself would show it to wherever the first server points."""
    seen: list[str | None] = []
    inner = server[1]

    class Elsewhere(inner):
        def run(self, body):
            seen.append(self.headers.get("Authorization"))
            super().run(body)

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", f"{target}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    second, first = (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (Elsewhere, Redirecting)
    )
    target = f"http://localhost:{second.server_port}"
    for each in (first, second):
        threading.Thread(target=each.serve_forever, args=(0.02,), daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{first.server_port}/models.git"
        fetched = fetch(uri, {"GIT_USERNAME": "team", "GIT_PASSWORD": "hidden"})
        assert files(fetched.path)["model.onnx"] == b"two"
        assert seen
        assert set(seen) == {None}
    finally:
        for each in (first, second):
            each.shutdown()
            each.server_close()


def test_a_redirect_to_the_machine_s_metadata_is_refused(fetch):
    class Redirecting(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", f"http://169.254.169.254{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(StorageError, match="a link-local or metadata address"):
            fetch(f"http://127.0.0.1:{server.server_port}/models.git")
    finally:
        server.shutdown()
        server.server_close()
