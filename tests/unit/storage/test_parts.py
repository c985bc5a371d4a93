"""The small values: URIs, mirrors, patterns, references of images, Azure's and git's spellings."""

from __future__ import annotations

import pytest

from modelport.storage import Credentials, Mirror, StorageError, redact, registry
from modelport.storage.credentials import of
from modelport.storage.mirror import rewrite
from modelport.storage.pattern import Patterns, parse
from modelport.storage.scheme import azure, git, name_of
from modelport.storage.uri import pin, safe_path


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        ("https://ana:secret@host/m.git", "https://ana:[redacted]@host/m.git"),
        ("https://host/m?sig=abc&sv=2022", "https://host/m?sig=[redacted]&sv=2022"),
        (
            "https://host/m?X-Amz-Signature=abc&X-Amz-Credential=x",
            "https://host/m?X-Amz-Signature=[redacted]&X-Amz-Credential=[redacted]",
        ),
        ("abfs://models@account.dfs.core.windows.net/x", "abfs://models@account.dfs.core.windows.net/x"),
        ("/srv/models", "/srv/models"),
    ],
)
def test_what_is_shown_of_a_uri(uri, shown):
    assert redact(uri) == shown


def test_a_pin_behind_a_uri():
    digest = "a" * 64
    assert pin(f"s3://b/k#sha256={digest}") == ("s3://b/k", digest)
    assert pin("https://host/x.git#main") == ("https://host/x.git#main", None)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("gs://a/b/m", "file:///srv/b/m"),
        ("gs://a/special/m", "s3://other/m"),
        ("gs://ab/m", "gs://ab/m"),
        ("hf://org/model:v1", "s3://hub/org/model:v1"),
        ("oci://registry.io/x:1", "oci://mirror.local/x:1"),
        ("oci://registry.io.evil/x", "oci://registry.io.evil/x"),
        ("https://hub.com/blob/m.joblib?raw=true", "file:///srv/m.joblib"),
    ],
)
def test_the_longest_prefix_that_ends_at_a_border_decides(uri, target):
    table = [
        Mirror("gs://a/", "file:///srv/"),
        Mirror("gs://a/special", "s3://other"),
        Mirror("hf://", "s3://hub/"),
        Mirror("oci://registry.io", "oci://mirror.local"),
        Mirror("https://hub.com/blob/", "file:///srv/"),
    ]
    assert rewrite(uri, table) == target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["*.json", "a,b"]', ("*.json", "a,b")),
        ("*.json, *.bin", ("*.json", "*.bin")),
        ("", ()),
        ('"x"', ("x",)),
    ],
)
def test_patterns_as_kserve_writes_them(text, expected):
    assert parse(text) == expected


def test_ignoring_goes_over_allowing():
    patterns = Patterns(allow=("*.safetensors",), ignore=("old/*",))
    assert patterns.wants("a/model.safetensors")
    assert not patterns.wants("old/model.safetensors")
    assert not patterns.wants("model.bin")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a\0b"])
def test_a_store_cannot_name_files_outside(path):
    with pytest.raises(StorageError, match="outside the model's folder"):
        safe_path(path)


@pytest.mark.parametrize(
    ("text", "host", "repository", "what"),
    [
        ("registry.io/team/churn:3", "registry.io", "team/churn", "3"),
        ("localhost:5000/churn", "localhost:5000", "churn", "latest"),
        ("churn:3", "docker.io", "library/churn", "3"),
        ("team/churn", "docker.io", "team/churn", "latest"),
        (f"registry.io/churn:3@sha256:{'a' * 64}", "registry.io", "churn", f"sha256:{'a' * 64}"),
    ],
)
def test_references_of_images(text, host, repository, what):
    found = registry.parse(text)
    assert (found.host, found.repository, found.what) == (host, repository, what)


@pytest.mark.parametrize("text", ["registry.io/UPPER", "", "registry.io/churn@md5:0", "registry.io/"])
def test_what_is_no_reference(text):
    with pytest.raises(StorageError, match="is no reference of an image"):
        registry.parse(text)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "https://acc.blob.core.windows.net/c/a/b",
            ("acc", "https://acc.blob.core.windows.net", "c", "a/b", ""),
        ),
        (
            "https://acc.z12.blob.storage.azure.net/c/a",
            ("acc", "https://acc.z12.blob.storage.azure.net", "c", "a", ""),
        ),
        ("abfs://c@acc.dfs.core.windows.net/a", ("acc", "https://acc.blob.core.windows.net", "c", "a", "")),
        ("az://c/a", ("mine", "https://mine.blob.core.windows.net", "c", "a", "")),
        (
            "https://acc.blob.core.windows.net/c/a?sv=1&sig=x",
            ("acc", "https://acc.blob.core.windows.net", "c", "a", "sv=1&sig=x"),
        ),
    ],
)
def test_azures_spellings(uri, expected):
    assert azure.parse(uri, of({"AZURE_ACCOUNT_NAME": "mine"}, "test")) == expected


def test_azure_without_an_account():
    with pytest.raises(StorageError, match="names no account"):
        azure.parse("az://c/a", Credentials())


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://h/x.git", ("https://h/x.git", "", "", "")),
        ("https://ana:p%40ss@h/x.git@v1", ("https://h/x.git", "v1", "ana", "p@ss")),
        ("git+https://h/x.git@feature/a", ("https://h/x.git", "feature/a", "", "")),
        ("https://h/x.git?ref=v2", ("https://h/x.git", "v2", "", "")),
        ("https://h/x.git#v3", ("https://h/x.git", "v3", "", "")),
    ],
)
def test_gits_spellings(uri, expected):
    assert git.parse(uri) == expected


def test_a_ref_cannot_be_an_option():
    with pytest.raises(StorageError, match="no name of a branch"):
        git.parse("https://h/x.git@--upload-pack=evil")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("./model", "local"), ("model.joblib", "local"), ("/srv", "local"), ("file:///srv", "local"), ("pvc://c/x", "pvc"),
        ("s3://b/k", "s3"), ("gs://b/k", "gs"), ("https://a.blob.core.windows.net/c/k", "azure"), ("abfs://c@a/k", "azure"),
        ("https://a.file.core.windows.net/s/k", "azurefile"), ("hf://o/m", "hf"), ("oci+native://r/x", "oci"),
        ("https://h/x.git", "git"), ("https://h/x.git@v1", "git"), ("https://h/x.github.io/m", "http"), ("models:/m/1", "mlflow"),
        ("hdfs://a", "hdfs"), ("webhdfs://a", "hdfs"), ("modelscope://o/m", "modelscope"), ("http://h/m", "http"),
    ],
)  # fmt: skip
def test_which_scheme_it_is(uri, name):
    assert name_of(uri) == name


def test_a_third_party_adds_a_scheme(fetch, contents, monkeypatch):
    from modelport.storage import Listing, RemoteFile, scheme

    def resolve(uri, context):
        def read(start, stop):
            yield uri.encode()[start:stop]

        return Listing(files=(RemoteFile("where.txt", read, size=len(uri), version="1"),), origin="theirs")

    class Point:
        def load(self):
            return resolve

    monkeypatch.setattr(scheme, "added", lambda: {"dvc": Point()})
    assert contents(fetch("dvc://team/churn").path) == {"where.txt": b"dvc://team/churn"}
    assert fetch("dvc://team/churn").from_cache
