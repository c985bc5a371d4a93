"""`webhdfs://path` and `hdfs://path`: HDFS, by its WebHDFS API. The namenodes come from the credentials, as in KServe.

A namenode says what there is, and redirects each read to a datanode that has the block. Either may be down while
another is not: of a pair of namenodes the active one is found, and a datanode that failed is not asked again.
"""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from modelport.kube.part import mapping
from modelport.storage.credentials import Credentials
from modelport.storage.failure import Changed, Step, StorageError, transient
from modelport.storage.ranged import reader
from modelport.storage.scheme.http import parse_headers
from modelport.storage.source import Chunk, Context, Found, Listing, RemoteFile
from modelport.storage.transport import Answer, Transport, bad_status
from modelport.storage.uri import DEPTH, safe_path, too_deep

PASSING = (
    "StandbyException", "RetriableException", "SafeModeException", "BlockMissingException", "IOException",
    "ConnectException", "SocketTimeoutException", "EOFException",
)  # fmt: skip
"""What a cluster says while part of it is down or starts. WebHDFS sends most of it with the status 403."""


def resolve(uri: str, context: Context) -> Found:
    """Lists the file or folder."""
    given = context.credentials
    if given.get("KERBEROS_PRINCIPAL"):
        raise _kerberos(given.source("KERBEROS_PRINCIPAL"))
    namenodes, path = _place(uri, given)
    client = _Client(namenodes, given, context)
    if not path.startswith("/"):
        path = f"{client.ask('GETHOMEDIRECTORY', '/')['Path'].rstrip('/')}/{path}"
    status = client.ask("GETFILESTATUS", path)["FileStatus"]
    if status["type"] == "DIRECTORY":
        files = client.below(path, "", 0)
    else:
        files = [client.file(path, path.rpartition("/")[2], status)]
    return Listing(files=tuple(files), origin=";".join(namenodes), credential=client.credential)


def _place(uri: str, given: Credentials) -> tuple[list[str], str]:
    """Namenodes and path. `webhdfs://host:port/path` names its own where the credentials name none.

    A path below a relative HDFS_ROOTPATH is relative: it lies in the user's home directory, as in KServe.
    """
    rest = uri.partition("://")[2]
    named = [part.strip().rstrip("/") for part in (given.get("HDFS_NAMENODE") or "").split(";")]
    namenodes = [one if "://" in one else f"http://{one}" for one in named if one]
    root = (given.get("HDFS_ROOTPATH") or "").strip() or "/"
    host, _, behind = rest.partition("/")
    if ":" in host:  # no folder: names in HDFS have no colon
        rest = behind
        if not namenodes and uri.startswith("webhdfs://"):
            namenodes = [f"http://{host}"]
    if not namenodes:
        raise StorageError(
            "resolve",
            "nothing names the namenode's http address",
            "Give HDFS_NAMENODE (http://namenode:9870) in a Secret on the ServiceAccount, or write "
            "webhdfs://namenode:9870/path",
            reason="InvalidURI",
        )
    return namenodes, f"{root.rstrip('/')}/{rest.strip('/')}".rstrip("/") or "/"


class _Client:
    def __init__(self, namenodes: list[str], given: Credentials, context: Context) -> None:
        self._namenodes = namenodes
        self._lock = threading.Lock()
        self._active = 0
        self._failed: set[str] = set()
        self._user = given.get("USER_PROXY") or ""
        self.credential = given.source("HDFS_NAMENODE", "HEADERS", "TLS_CERT", "USER_PROXY")
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
                connect_timeout_s=context.connect_timeout_s,
                read_timeout_s=context.read_timeout_s,
            )

    def ask(self, operation: str, path: str) -> dict[str, Any]:
        """What the active namenode answers; each is asked before it counts as a failure."""
        for left in reversed(range(len(self._namenodes))):
            try:
                return self._ask(operation, path)
            except StorageError as error:
                self._blame(error)
                if not (left and error.transient):
                    raise
        raise AssertionError("there is a namenode")

    def _ask(self, operation: str, path: str) -> dict[str, Any]:
        url = self._url(operation, path)
        with self._transport.request("GET", url, secret_headers=self._headers, step="list") as answer:
            if answer.status != 200:
                raise self._words(answer, path, "list") or bad_status(answer, "list", self.credential, path)
            return json.loads(answer.text())

    def below(self, path: str, name: str, depth: int) -> list[RemoteFile]:
        """The files of a folder and of those in it."""
        if depth > DEPTH:
            raise too_deep(path)
        files: list[RemoteFile] = []
        for status in self.ask("LISTSTATUS", path)["FileStatuses"]["FileStatus"]:
            inside = safe_path(f"{name}/{status['pathSuffix']}".lstrip("/"))
            place = f"{path.rstrip('/')}/{status['pathSuffix']}"
            if status["type"] == "DIRECTORY":
                files += self.below(place, inside, depth + 1)
            else:
                files.append(self.file(place, inside, status))
        return files

    def file(self, path: str, name: str, status: dict[str, Any]) -> RemoteFile:
        """One file. HDFS has no conditional read: what was read is that version's if it still is afterwards."""
        version, size = _version(status), int(status["length"])

        def url(start: int, stop: int | None) -> str:
            more = {"offset": str(start)} | ({"length": str(stop - start)} if stop is not None else {})
            with self._lock:
                failed = ",".join(sorted(self._failed))
            return self._url("OPEN", path, more | ({"excludedatanodes": failed} if failed else {}))

        once = reader(
            self._transport,
            url,
            secret_headers=lambda: self._headers,
            credential=self.credential,
            name=path,
            by_url=True,
            told=lambda answer: self._words(answer, path, "read"),
        )

        def read(start: int, stop: int | None) -> Iterator[Chunk]:
            try:
                if start < size:  # HDFS takes an offset at the end for a mistake
                    yield from once(start, stop)
                now = self.ask("GETFILESTATUS", path)["FileStatus"]
            except StorageError as error:
                self._blame(error)
                if self._is_other(path, version):
                    raise Changed from error  # an offset beyond its end is told as any other trouble
                raise
            if _version(now) != version:
                raise Changed

        return RemoteFile(safe_path(name), read, size=size, version=version)

    def _is_other(self, path: str, version: str) -> bool:
        """Whether the file is another by now, or gone; not where nobody can say."""
        try:
            return _version(self.ask("GETFILESTATUS", path)["FileStatus"]) != version
        except StorageError as error:
            return error.reason == "NotFound"

    def _url(self, operation: str, path: str, more: dict[str, str] | None = None) -> str:
        user = {"user.name": self._user} if self._user else {}
        base = f"{self._namenodes[self._active]}/webhdfs/v1{quote(path)}"
        return f"{base}?{urlencode({'op': operation, **user, **(more or {})})}"

    def _blame(self, error: StorageError) -> None:
        """Asks another next time: the next namenode, or a datanode that is none of those that failed."""
        if not error.transient or not error.at:
            return
        with self._lock:
            hosts = [urlsplit(one).netloc for one in self._namenodes]
            if error.at not in hosts:
                self._failed |= _addresses(error.at)
            else:
                self._failed.clear()  # where all are excluded, it says that none has the block
                if error.at == hosts[self._active]:
                    self._active = (self._active + 1) % len(hosts)

    def _words(self, answer: Answer, path: str, step: Step) -> StorageError | None:
        """HDFS says what is wrong in a RemoteException."""
        host = urlsplit(answer.url).netloc
        if answer.status == 401 and "negotiate" in answer.header("WWW-Authenticate").lower():
            return _kerberos(host)
        try:
            found = mapping(mapping(json.loads(answer.text(1 << 20))).get("RemoteException"))
        except ValueError:
            return None
        kind, said = str(found.get("exception", "")), str(found.get("message", "")).strip()
        line = (said.splitlines() or [kind])[0][:300]
        if kind == "FileNotFoundException":
            return StorageError(
                step,
                f"HDFS has no {path}",
                f"hdfs dfs -ls {path.rpartition('/')[0] or '/'} shows what there is",
                reason="NotFound",
                credential=self.credential,
            )
        if kind in ("AccessControlException", "SecurityException"):
            return StorageError(
                "authenticate",
                f"HDFS does not let {self._user or 'an unnamed user'} read {path} ({line})",
                "Name a user who may in USER_PROXY, or give the right: hdfs dfs -chmod, hdfs dfs -setfacl",
                reason="PermissionDenied",
                credential=self.credential,
            )
        if kind in PASSING:
            return transient(step, f"{host} says: {line}", "It may pass; is the cluster well?", at=host)
        if not kind:
            return None
        return StorageError(
            step,
            f"{host} says: {line}",
            "The namenode's and datanode's logs say more",
            reason="Failed",
            credential=self.credential,
        )


def _addresses(host: str) -> set[str]:
    """Of a datanode, as the namenode knows it: by IP address. The port of its redirects tells it nothing."""
    name = urlsplit(f"//{host}").hostname or ""
    with contextlib.suppress(OSError):
        return {
            str(found[4][0]) for found in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        }
    return {name}


def _version(status: dict[str, Any]) -> str:
    return f"{status['modificationTime']}-{status['length']}-{status.get('fileId', '')}"


def _kerberos(who: str) -> StorageError:
    return StorageError(
        "authenticate",
        f"{who} asks for Kerberos, which is not spoken here",
        "Put a gateway that takes a header or a certificate (Knox, HttpFS) before the cluster, or copy the model",
        reason="Unsupported",
    )


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
