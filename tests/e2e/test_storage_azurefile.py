"""An Azure file share: a server of ours, since no emulator has file shares, held to what Microsoft's own client does.

The server checks each signature by the code of `azure-storage-file-share`, and that client itself lists and reads it.
"""

from __future__ import annotations

import base64
import http.server
import os
import types
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
import stores

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of

ACCOUNT, KEY = "trainer", base64.b64encode(b"the key of the account").decode()
SAS = "sv=2022-11-02&ss=f&sp=rl&sig=a%2Bb%2Fc%3D"
BIG = os.urandom(1 << 20) * 20
TREE = {
    "churn/3/model.joblib": b"weights",
    "churn/3/sub/größe + ein=s 100%.txt": b"a",
    "churn/3/sub/deep/b&c'd;e.txt": b"b",
    "big.bin": BIG,
}
PAGE = 2


def right(method: str, path: str, headers: dict[str, str]) -> bool:
    """Whether Microsoft's client would have signed it so."""
    from azure.storage.fileshare._shared.authentication import SharedKeyCredentialPolicy

    sent = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    request = types.SimpleNamespace(
        method=method, url=f"http://host{path}", headers=sent, query=dict(parse_qsl(urlsplit(path).query))
    )
    whole = types.SimpleNamespace(http_request=request, context=types.SimpleNamespace(transport=None))
    SharedKeyCredentialPolicy(ACCOUNT, KEY).on_request(whole)
    return request.headers["Authorization"] == headers.get("Authorization")


class Share(http.server.BaseHTTPRequestHandler):
    """One share, `models`, as its REST documentation has it."""

    protocol_version = "HTTP/1.1"
    tree: dict[str, bytes]
    ranges: list[str]
    broken = 0
    then: dict[str, bytes]

    def log_message(self, *words: object) -> None:
        """Silence."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{KEY}</Message></Error>"
        self.reply(status, text.encode(), x_ms_error_code=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts, headers = urlsplit(self.path), dict(self.headers.items())
        query = dict(parse_qsl(parts.query))
        by_signature = query.get("sig") == "a+b/c="
        if not by_signature and not right(self.command, self.path, headers):
            return self.refuse(403, "AuthenticationFailed")
        share, _, path = unquote(parts.path).strip("/").partition("/")
        if share != "models":
            return self.refuse(404, "ShareNotFound")
        if query.get("comp") == "list":
            return self.list(path, int(query.get("marker", "0")))
        if path not in self.tree:
            return self.refuse(404, "ResourceNotFound")
        return self.content(self.tree[path])

    def content(self, body: bytes) -> None:
        etag = f'"{hash(body)}"'
        asked = self.headers.get("Range") or self.headers.get("x-ms-range")
        common = {"ETag": etag, "Last-Modified": formatdate(0, usegmt=True), "x-ms-type": "File"}
        if not asked:
            return self.reply(200, body, **common)
        type(self).ranges.append(asked)
        self.tree.update(self.then)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        end = min(int(last or len(body)), len(body) - 1)
        common["Content-Range"] = f"bytes {first}-{end}/{len(body)}"
        part = body[int(first) : end + 1]
        if type(self).broken:
            type(self).broken -= 1
            self.reply(206, part[: len(part) // 2], **common | {"Content-Length": str(len(part))})
            self.close_connection = True
            return None
        return self.reply(206, part, **common)

    def list(self, path: str, start: int) -> None:
        inside = f"{path}/" if path else ""
        below = {name[len(inside) :].partition("/")[::2] for name in self.tree if name.startswith(inside)}
        if not below:
            return self.refuse(404, "ResourceNotFound")
        kinds = sorted({(name, bool(rest)) for name, rest in below})
        found = [
            f"<Directory><Name>{escape(name)}</Name><Properties/></Directory>"
            if folder
            else f"<File><Name>{escape(name)}</Name><Properties><Content-Length>{len(self.tree[inside + name])}</Content-Length></Properties></File>"
            for name, folder in kinds[start : start + PAGE]
        ]
        more = str(start + PAGE) if start + PAGE < len(kinds) else ""
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://x/" ShareName="models" '
            f'DirectoryPath="{escape(path)}"><Entries>{"".join(found)}</Entries><NextMarker>{more}</NextMarker></EnumerationResults>'
        )
        return self.reply(200, text.encode(), Content_Type="application/xml")


@pytest.fixture
def share():
    pytest.importorskip("azure.storage.fileshare", reason="Microsoft's client: run tests/storage.sh")

    class Own(Share):
        tree = dict(TREE)  # noqa: RUF012
        then: dict[str, bytes] = {}  # noqa: RUF012
        ranges: list[str] = []  # noqa: RUF012

    with stores.serving(Own) as url:
        yield url, Own


@pytest.fixture
def fetch(tmp_path, share):
    def bound(path, query="", **values):
        given = {"AZURE_SERVICE_URL": share[0], **(values or {"AZURE_STORAGE_ACCESS_KEY": KEY})}
        return storage.fetch(
            f"https://{ACCOUNT}.file.core.windows.net/{path}{query}",
            cache=storage.Cache(tmp_path / "cache"),
            credentials=of(given, "Secret default/azure"),
            retry=storage.Retry(budget_s=5.0, first_s=0.01),
        )

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


CHURN = {name.removeprefix("churn/3/"): body for name, body in TREE.items() if name.startswith("churn/3/")}


def test_microsofts_client_reads_the_server_too(share):
    from azure.storage.fileshare import ShareClient

    client = ShareClient(share[0], "models", credential={"account_name": ACCOUNT, "account_key": KEY})
    listed = {one.name: one.is_directory for one in client.list_directories_and_files("churn/3/sub")}
    assert listed == {"größe + ein=s 100%.txt": False, "deep": True}
    for name in ("big.bin", "churn/3/sub/größe + ein=s 100%.txt"):
        assert client.get_file_client(name).download_file().readall() == TREE[name]


def test_a_folder_and_a_file_by_key_and_by_signature(fetch):
    fetched = fetch("models/churn/3")
    assert files(fetched.path) == CHURN
    assert fetched.credential == "the key of Secret default/azure"
    assert fetch("models/churn/3").from_cache
    assert files(fetch("models/churn/3/").path) == CHURN
    assert files(fetch("models/churn/3/model.joblib").path) == {"model.joblib": b"weights"}
    assert files(fetch("models/churn/3/sub/gr%C3%B6%C3%9Fe%20%2B%20ein%3Ds%20100%25.txt").path) == {
        "größe + ein=s 100%.txt": b"a"
    }
    by_secret = fetch("models/churn/3", AZURE_STORAGE_SAS_TOKEN=f"?{SAS}")
    assert (files(by_secret.path), by_secret.credential) == (CHURN, "the signature of Secret default/azure")
    in_uri = fetch("models/churn/3", f"?{SAS}", HF_TOKEN="of another store")
    assert (files(in_uri.path), in_uri.credential) == (CHURN, "the signature in the URI")


def test_the_whole_share(fetch):
    assert files(fetch("models").path) == TREE


def test_a_break_in_a_large_file_costs_a_part(fetch, share):
    share[1].broken = 2
    assert files(fetch("models/big.bin").path) == {"big.bin": BIG}
    read = [one.removeprefix("bytes=").split("-") for one in share[1].ranges]
    assert sum(int(last) + 1 - int(first) for first, last in read) < 2 * len(BIG)


def test_a_file_that_is_replaced_while_it_is_read(fetch, share):
    other = bytes(reversed(BIG))

    share[1].then["big.bin"] = other  # after the first part
    assert files(fetch("models/big.bin").path) == {"big.bin": other}


@pytest.mark.parametrize(
    ("path", "values", "words", "reason"),
    [
        ("models/churn/9", {}, "there is no model: nothing lies there", "NotFound"),
        ("nothing/churn", {}, f"the account {ACCOUNT} has no share nothing", "NotFound"),
        (
            "models/churn/3",
            {"HF_TOKEN": "x"},
            "a file share is never public, and there is no",
            "Unauthenticated",
        ),
        (
            "models/churn/3",
            {"AZURE_STORAGE_ACCESS_KEY": "hidden!"},
            "is not base64, as keys",
            "Unauthenticated",
        ),
        (
            "models/churn/3",
            {"AZURE_STORAGE_ACCESS_KEY": "aGlkZGVu"},
            "does not accept the key",
            "Unauthenticated",
        ),
        (
            "models/churn/3",
            {"AZURE_STORAGE_SAS_TOKEN": "sig=hidden"},
            "does not accept the key",
            "Unauthenticated",
        ),
        ("", {}, "it names no share", "InvalidURI"),
    ],
)
def test_what_is_wrong_is_told(fetch, path, values, words, reason):
    with pytest.raises(StorageError, match=words) as failed:
        fetch(path, **values)
    assert failed.value.reason == reason
    assert failed.value.hint
    assert not any(secret in str(failed.value) for secret in ("hidden!", "aGlkZGVu", "sig=hidden", KEY))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "the listing is not XML"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "declares entities"),
        (b"<x><Entries><File><Name>../../out</Name></File></Entries></x>", "would lie outside"),
        (b"<x><Entries><Directory><Name>..</Name></Directory></Entries></x>", "would lie outside"),
        (
            b"<x><Entries><Directory><Name>a</Name></Directory></Entries></x>",
            "more than 100 folders in each other",
        ),
    ],
)
def test_a_listing_that_means_harm(fetch, share, monkeypatch, body, words):
    monkeypatch.setattr(share[1], "list", lambda self, path, start: self.reply(200, body))
    with pytest.raises(StorageError, match=words):
        fetch("models/churn")
