"""Registries, hubs and namenodes that are broken or mean harm: what they say is told in words, and leads nowhere."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
from collections.abc import Callable
from typing import Any

import pytest
import stores

from modelport.storage import StorageError, registry
from modelport.storage.credentials import of
from modelport.storage.transport import Transport

fetch = stores.fetch
Says = Callable[[str], tuple[int, Any]]


def saying(answer: Says) -> type[http.server.BaseHTTPRequestHandler]:
    """A server that answers each path with a status and JSON, or bytes as they are."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Silence."""

        def do_GET(self) -> None:
            status, value = answer(self.path)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def refused(fetch: Any, uri: str, answer: Says, **values: str) -> StorageError:
    with stores.serving(saying(answer)) as url:
        given = {name: value.replace("SERVER", url) for name, value in values.items()}
        with pytest.raises(StorageError) as failed:
            fetch(uri.replace("SERVER", url.partition("://")[2]), **given)
    return failed.value


def registered(place: str) -> Says:
    """MLflow, that says a version's artifacts lie there."""
    return lambda path: (200, {"artifact_uri": place}) if "get-download-uri" in path else (404, b"<html>")


def listing(name: str, *, folder: bool) -> Says:
    """MLflow, whose artifacts are one name in every folder."""
    one = {"path": name, "is_dir": folder, "file_size": 1}
    return lambda path: (
        (200, {"artifact_uri": "mlflow-artifacts:/1"})
        if "get-download-uri" in path
        else (200, {"files": [one]})
    )


@pytest.mark.parametrize(
    ("answer", "words", "reason"),
    [
        (registered("file:///etc"), "a server's word opens no folder of this machine", "Refused"),
        (registered("/etc"), "a server's word opens no folder of this machine", "Refused"),
        (registered("pvc://other/models"), "a server's word opens no folder of this machine", "Refused"),
        (registered("models:/churn/1"), "which only their own client reads", "Unsupported"),
        (registered("ftp://host/x"), "there is no scheme ftp://", "InvalidURI"),
        (listing("..", folder=False), "would lie outside the model's folder", "Refused"),
        (listing("..", folder=True), "would lie outside the model's folder", "Refused"),
        (listing("deeper", folder=True), "more than 100 folders in each other", "Refused"),
        (lambda path: (404, b"<html>"), "the registry at .* says: not found", "NotFound"),
        (lambda path: (400, {"message": "bad name"}), "the registry at .* says: bad name", "Failed"),
        (lambda path: (200, b"<html>"), "the store's answer is not understood", "Failed"),
    ],
)
def test_mlflow(fetch, answer, words, reason):
    told = refused(fetch, "models:/churn/1", answer, MLFLOW_TRACKING_URI="SERVER")
    assert told.reason == reason
    assert told.hint
    with pytest.raises(StorageError, match=words):
        raise told


def test_mlflows_password_in_its_address_is_used_and_never_shown(fetch):
    def answer(path: str) -> tuple[int, Any]:
        return 401, b""

    with stores.serving(saying(answer)) as url:
        named = url.replace("http://", "http://ana:hidden@")
        with pytest.raises(StorageError, match="the user ana of MLFLOW_TRACKING_URI, from Secret") as failed:
            fetch("models:/churn/1", MLFLOW_TRACKING_URI=named)
    assert "hidden" not in str(failed.value)
    with pytest.raises(StorageError, match="must be the tracking server's http address") as failed:
        fetch("models:/churn/1", MLFLOW_TRACKING_URI="ana:hidden@host")
    assert "hidden" not in str(failed.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"Data": {"Files": [{"Path": "../out", "Type": "blob"}]}}, "would lie outside the model's folder"),
        ({"Success": False, "Message": "no" * 1000}, r"the hub says: (no){150}\."),
        ({"Data": {"Files": []}}, "there is no model: nothing lies there"),
        (b"<html>", "the store's answer is not understood"),
    ],
)
def test_modelscope(fetch, value, words):
    told = refused(fetch, "modelscope://team/churn", lambda path: (200, value), MODELSCOPE_ENDPOINT="SERVER")
    with pytest.raises(StorageError, match=words):
        raise told


def image(digest: str) -> Says:
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 1}
    return lambda path: (200, {"layers": [layer]})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (image("md5:" + "0" * 32), "has no SHA-256, by which it could be verified"),
        (image("sha256:../../../secret"), "has no SHA-256, by which it could be verified"),
        (lambda path: (200, b"<html>"), "the store's answer is not understood"),
        (lambda path: (404, b""), r"has no churn:3"),
    ],
)
def test_oci(fetch, answer, words):
    told = refused(fetch, "oci://SERVER/churn:3", answer)
    with pytest.raises(StorageError, match=words):
        raise told


def test_a_manifest_is_verified_by_either_digest(fetch):
    body = json.dumps({"layers": []}).encode()
    wrong = "0" * 128
    told = refused(fetch, f"oci://SERVER/churn@sha512:{wrong}", lambda path: (200, body))
    assert f"came with the digest sha512:{hashlib.sha512(body).hexdigest()}" in told.problem
    told = refused(fetch, f"oci://SERVER/churn@md5:{'0' * 32}", lambda path: (200, body))
    assert "is none that can be verified" in told.problem


def test_a_registry_asks_for_the_password_without_encryption():
    packed = base64.b64encode(b"ana:hidden").decode()
    given = of(
        {".dockerconfigjson": json.dumps({"auths": {"registry.example.com": {"auth": packed}}})}, "Secret a/b"
    )
    store = registry.Registry(registry.parse("registry.example.com/churn:3"), given, Transport())
    store._challenge = 'Bearer realm="http://registry.example.com/token",service="x"'
    with pytest.raises(StorageError, match="which is not encrypted") as failed:
        store.renew()
    assert "hidden" not in str(failed.value)


def test_a_docker_configuration_that_gives_no_password(fetch):
    config = json.dumps({"auths": {"SERVER": {"auth": "hidden"}}})
    with stores.serving(saying(lambda path: (401, b""))) as url:
        host = url.partition("://")[2]
        with pytest.raises(StorageError, match="is not base64") as failed:
            fetch(f"oci://{host}/churn:3", **{".dockerconfigjson": config.replace("SERVER", host)})
        assert "hidden" not in str(failed.value)
        kept = json.dumps({"auths": {host: {}}, "credsStore": "desktop"})
        with pytest.raises(
            StorageError, match="says that docker-credential-desktop keeps it, which is not run"
        ):
            fetch(f"oci://{host}/churn:3", **{".dockerconfigjson": kept})


def tree(status: dict[str, Any]) -> Says:
    """A namenode whose folders all hold the same."""
    common = {"length": 1, "modificationTime": 1, "fileId": 1}
    whole = {"FileStatus": common | {"pathSuffix": "", "type": "DIRECTORY"}}
    return lambda path: (
        (200, whole)
        if "GETFILESTATUS" in path
        else (200, {"FileStatuses": {"FileStatus": [common | status]}})
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (tree({"pathSuffix": "../out", "type": "FILE"}), "would lie outside the model's folder"),
        (tree({"pathSuffix": "..", "type": "DIRECTORY"}), "would lie outside the model's folder"),
        (tree({"pathSuffix": "deeper", "type": "DIRECTORY"}), "more than 100 folders in each other"),
        (lambda path: (200, b"<html>"), "the store's answer is not understood"),
        (lambda path: (400, b"<html>"), "answered 400"),
        (
            lambda path: (400, {"RemoteException": {"exception": "Odd", "message": "x\n at y"}}),
            r"says: x\.? ",
        ),
    ],
)
def test_hdfs(fetch, answer, words):
    told = refused(fetch, "webhdfs://SERVER/models", answer)
    with pytest.raises(StorageError, match=words):
        raise told
