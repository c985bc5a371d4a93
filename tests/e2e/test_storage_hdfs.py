"""`webhdfs://` and `hdfs://` against a server that answers as Hadoop's documentation of WebHDFS says.

It is there for the headers of a gateway, and where there is no Java: Hadoop itself is in `test_storage_hadoop`.
"""

from __future__ import annotations

import http.server
import json
import os
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import stores

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of

BIG = os.urandom(1 << 20) * 20
TREE = {"/models/churn/model.joblib": b"weights", "/models/churn/sub/a.txt": b"a", "/models/big.bin": BIG}


class Namenode(http.server.BaseHTTPRequestHandler):
    """Namenode and datanode in one: OPEN redirects, as the real one does, to another address."""

    seen: list[tuple[str, str | None]] = []  # noqa: RUF012

    def log_message(self, *arguments):
        pass

    def reply(self, status, value, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path).removeprefix("/webhdfs/v1")
        type(self).seen.append((self.path, self.headers.get("X-Token")))
        if path.startswith("/data"):
            content = TREE[path.removeprefix("/data")]
            start = int(query.get("offset", 0))
            self.reply(200, content[start : start + int(query.get("length", len(content)))])
        elif query.get("user.name") == "stranger":
            self.reply(403, {"RemoteException": {"exception": "AccessControlException", "message": "no"}})
        elif path not in TREE and not any(name.startswith(path.rstrip("/") + "/") for name in TREE):
            self.reply(404, {"RemoteException": {"exception": "FileNotFoundException", "message": "no"}})
        elif query["op"] == "OPEN":
            host = self.headers["Host"].replace("127.0.0.1", "localhost")
            self.reply(307, b"", [("Location", f"http://{host}/webhdfs/v1/data{path}?{parts.query}")])
        elif query["op"] == "GETFILESTATUS":
            self.reply(200, {"FileStatus": self.status(path, "")})
        else:
            below = {name[len(path) :].strip("/").partition("/")[0] for name in TREE if name.startswith(path)}
            found = [self.status(f"{path.rstrip('/')}/{name}", name) for name in sorted(below)]
            self.reply(200, {"FileStatuses": {"FileStatus": found}})

    def status(self, path, suffix):
        kind = "FILE" if path in TREE else "DIRECTORY"
        size = len(TREE.get(path, b""))
        return {"pathSuffix": suffix, "type": kind, "length": size, "modificationTime": 1, "fileId": 7}


@pytest.fixture
def namenode():
    with stores.serving(Namenode) as url:
        Namenode.seen.clear()
        yield url


@pytest.fixture
def fetch(tmp_path, namenode):
    def bound(uri, **values):
        given = of({"HDFS_NAMENODE": namenode, **values}, "Secret default/hdfs")
        retry = storage.Retry(budget_s=1.0, first_s=0.01)
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=given, retry=retry)

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize("scheme", ["webhdfs", "hdfs"])
def test_a_folder_and_a_file(fetch, scheme):
    assert files(fetch(f"{scheme}://models/churn").path) == {"model.joblib": b"weights", "sub/a.txt": b"a"}
    assert files(fetch(f"{scheme}://models/churn/model.joblib").path) == {"model.joblib": b"weights"}
    assert fetch(f"{scheme}://models/churn").from_cache


def test_a_root_path_goes_before(fetch):
    assert files(fetch("webhdfs://churn/model.joblib", HDFS_ROOTPATH="/models").path) == {
        "model.joblib": b"weights"
    }


def test_a_large_file_comes_in_parts(fetch):
    assert files(fetch("webhdfs://models/big.bin").path) == {"big.bin": BIG}


def test_headers_stay_with_the_namenode(fetch):
    fetch("webhdfs://models/churn/model.joblib", HEADERS='{"X-Token": "hidden"}')
    assert {token for path, token in Namenode.seen if "/data/" in path} == {None}
    assert {token for path, token in Namenode.seen if "/data/" not in path} == {"hidden"}


def test_what_is_wrong_is_told(fetch):
    with pytest.raises(StorageError, match=r"HDFS has no /models/none"):
        fetch("webhdfs://models/none")
    with pytest.raises(StorageError, match=r"HDFS does not let stranger read /models/churn"):
        fetch("webhdfs://models/churn", USER_PROXY="stranger")
    with pytest.raises(StorageError, match=r"asks for Kerberos, which is not spoken here"):
        fetch("hdfs://models/churn", KERBEROS_PRINCIPAL="a@B")
    with pytest.raises(StorageError, match="nothing names the namenode"):
        fetch("hdfs://models/churn", HDFS_NAMENODE="")
