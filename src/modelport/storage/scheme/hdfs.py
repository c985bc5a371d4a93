"""`webhdfs://path` and `hdfs://path`: HDFS, by its WebHDFS API. The namenode comes from the credentials, as in KServe."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.scheme.http import parse_headers
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import Answer, Transport, bad_status
from modelport.storage.uri import safe_path


def resolve(uri: str, context: Context) -> Found:
    """Lists the file or folder."""
    given = context.credentials
    if given.get("KERBEROS_PRINCIPAL"):
        raise StorageError(
            "authenticate",
            f"{given.source('KERBEROS_PRINCIPAL')} asks for Kerberos, which is not spoken here",
            "Put a gateway that takes a header or a certificate (Knox, HttpFS) before the cluster, or copy the model",
            reason="Unsupported",
        )
    namenode, path = _place(uri, given)
    client = _Client(namenode, given, context)
    status = client.ask("GETFILESTATUS", path)["FileStatus"]
    if status["type"] == "FILE":
        files = [client.file(path, path.rpartition("/")[2], status)]
    else:
        files = client.below(path, "")
    return Listing(files=tuple(files), origin=namenode, credential=client.credential)


def _place(uri: str, given: Credentials) -> tuple[str, str]:
    """Namenode and absolute path. `hdfs://host:port/path` names its own where the credentials name none."""
    rest = uri.partition("://")[2]
    namenode = (given.get("HDFS_NAMENODE") or "").partition(";")[0].strip().rstrip("/")
    root = (given.get("HDFS_ROOTPATH") or "").strip().rstrip("/")
    if not namenode:
        host = urlsplit(uri).netloc
        if ":" not in host or uri.startswith("hdfs://"):
            raise StorageError(
                "resolve",
                "nothing names the namenode's http address",
                "Give HDFS_NAMENODE (http://namenode:9870) in a Secret on the ServiceAccount, or write "
                "webhdfs://namenode:9870/path",
                reason="InvalidURI",
            )
        namenode, rest = f"http://{host}", rest[len(host) :]
    if "://" not in namenode:
        namenode = f"http://{namenode}"
    return namenode, f"{root}/{rest.strip('/')}"


class _Client:
    def __init__(self, namenode: str, given: Credentials, context: Context) -> None:
        self._base = f"{namenode}/webhdfs/v1"
        self._user = given.get("USER_PROXY") or ""
        self.credential = given.source("HDFS_NAMENODE", "HEADERS", "TLS_CERT")
        text = given.get("HEADERS")
        self._headers = parse_headers(text, given.source("HEADERS")) if text else {}
        authority = given.get("TLS_CA")
        with tempfile.TemporaryDirectory() as folder:
            pair = _pair(given, Path(folder))
            self._transport = Transport(
                ca_data=authority if authority and "-----BEGIN" in authority else None,
                ca_file=authority if authority and "-----BEGIN" not in authority else None,
                client_certificate=pair,
                verify=not given.flag("TLS_SKIP_VERIFY"),
                read_timeout_s=context.read_timeout_s,
            )

    def ask(self, operation: str, path: str) -> dict[str, Any]:
        with self._transport.request(
            "GET", self._url(operation, path), secret_headers=self._headers
        ) as answer:
            if answer.status != 200:
                raise self._words(answer, path) or bad_status(answer, "list", self.credential, path)
            return json.loads(answer.text())

    def below(self, path: str, name: str) -> list[RemoteFile]:
        files: list[RemoteFile] = []
        for status in self.ask("LISTSTATUS", path)["FileStatuses"]["FileStatus"]:
            inside = f"{name}/{status['pathSuffix']}".lstrip("/")
            place = f"{path}/{status['pathSuffix']}"
            if status["type"] == "DIRECTORY":
                files += self.below(place, inside)
            else:
                files.append(self.file(place, inside, status))
        return files

    def file(self, path: str, name: str, status: dict[str, Any]) -> RemoteFile:
        def url(start: int, stop: int | None) -> str:
            more = {"offset": str(start)} | ({"length": str(stop - start)} if stop is not None else {})
            return self._url("OPEN", path, more)

        return RemoteFile(
            safe_path(name),
            reader(
                self._transport,
                url,
                secret_headers=lambda: self._headers,
                credential=self.credential,
                name=path,
                by_url=True,
                told=lambda answer: self._words(answer, path),
            ),
            size=status["length"],
            version=f"{status['modificationTime']}-{status['length']}-{status.get('fileId', '')}",
        )

    def _url(self, operation: str, path: str, more: dict[str, str] | None = None) -> str:
        user = {"user.name": self._user} if self._user else {}
        return f"{self._base}{quote(path)}?{urlencode({'op': operation, **user, **(more or {})})}"

    def _words(self, answer: Answer, path: str) -> StorageError | None:
        """HDFS says what is wrong in a RemoteException."""
        if answer.status not in (400, 401, 403, 404):
            return None
        body = answer.text(1 << 20)
        found: dict[str, Any] = json.loads(body).get("RemoteException", {}) if body.startswith(b"{") else {}
        kind = found.get("exception", "")
        if kind == "FileNotFoundException":
            return StorageError(
                "list", f"HDFS has no {path}", "hdfs dfs -ls shows what there is", reason="NotFound"
            )
        if kind in ("AccessControlException", "SecurityException"):
            return StorageError(
                "authenticate",
                f"HDFS lets {self._user or 'this user'} not read {path}",
                "Give USER_PROXY in the Secret, or the file's rights",
                reason="PermissionDenied",
                credential=self.credential,
            )
        return None


def _pair(given: Credentials, folder: Path) -> tuple[str, str] | None:
    """Certificate and key as files, for as long as they are loaded."""
    certificate, key = given.get("TLS_CERT"), given.get("TLS_KEY")
    if not certificate or not key:
        return None
    if "-----BEGIN" not in certificate:
        return certificate, key
    for name, text in (("cert", certificate), ("key", key)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    return str(folder / "cert"), str(folder / "key")
