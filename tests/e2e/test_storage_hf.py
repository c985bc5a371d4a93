"""`hf://` against a local hub that the official client accepts: both must find the same files."""

from __future__ import annotations

import os

import pytest
from hub import Hub

from modelport import storage
from modelport.storage import Patterns, StorageError
from modelport.storage.credentials import of

BIG = os.urandom(1 << 20) * 20
FILES = {
    "config.json": b"{}",
    "model.safetensors": BIG,
    "tokenizer/vocab.txt": b"a\nb\n",
    "pytorch_model.bin": b"\x80\x02}q\x00.",
}


@pytest.fixture
def hub():
    hub = Hub()
    hub.repositories["team/churn"] = {"main": FILES, "v1": {"config.json": b'{"v": 1}'}}
    yield hub
    hub.close()


@pytest.fixture
def fetch(tmp_path, hub):
    def bound(uri, token="", **more):
        more.setdefault("retry", storage.Retry(budget_s=1.0, first_s=0.01))
        given = of({"HF_ENDPOINT": hub.url, "HF_TOKEN": token}, "Secret default/hf")
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=given, **more)

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_the_official_client_and_we_find_the_same(hub, fetch, tmp_path, monkeypatch):
    client = pytest.importorskip("huggingface_hub")
    official = client.snapshot_download("team/churn", endpoint=hub.url, local_dir=tmp_path / "official")
    theirs = {
        path: body for path, body in files(tmp_path / "official").items() if not path.startswith(".cache")
    }
    assert official
    assert theirs == FILES
    assert files(fetch("hf://team/churn").path) == FILES


def test_an_unchanged_repository_costs_one_request(hub, fetch):
    fetch("hf://team/churn")
    asked = len(hub.requests)
    assert fetch("hf://team/churn").from_cache
    assert len(hub.requests) == asked + 1


def test_a_revision_by_name_and_by_commit(hub, fetch):
    assert files(fetch("hf://team/churn:v1").path) == {"config.json": b'{"v": 1}'}
    commit = hub.commit(FILES)
    assert files(fetch(f"hf://team/churn:{commit}").path) == FILES


def test_a_new_revision_brings_only_what_changed(hub, fetch):
    fetch("hf://team/churn")
    hub.repositories["team/churn"]["main"] = {**FILES, "config.json": b'{"new": true}'}
    assert fetch("hf://team/churn").fetched_bytes == len(b'{"new": true}')


def test_patterns(fetch):
    fetched = fetch(
        "hf://team/churn", patterns=Patterns(allow=("*.json", "*.safetensors"), ignore=("config*",))
    )
    assert sorted(files(fetched.path)) == ["model.safetensors"]


def test_a_pickle_is_told_and_can_be_denied(fetch):
    assert any("pytorch_model.bin is a pickle" in warning for warning in fetch("hf://team/churn").warnings)
    with pytest.raises(StorageError, match=r"safe form is safetensors, and this source is not trusted"):
        fetch("hf://team/churn", policy=storage.Policy(unsafe="deny"))
    fetch("hf://team/churn", policy=storage.Policy(unsafe="deny", trusted=("hf://team/",)))


def test_a_private_repository_and_its_token(hub, fetch):
    hub.private["team/churn"] = "Bearer hf_good"
    with pytest.raises(StorageError, match=r"no repository team/churn, or it is private.* HF_TOKEN"):
        fetch("hf://team/churn")
    assert files(fetch("hf://team/churn", token="hf_good").path) == FILES
    assert hub.cdn_authorizations
    assert set(hub.cdn_authorizations) == {None}, "the token stays with the hub"
    with pytest.raises(StorageError) as failed:
        fetch("hf://team/churn", token="hf_bad")
    assert "Secret default/hf" in str(failed.value)
    assert "hf_bad" not in str(failed.value)


def test_gated_missing_and_misspelt(hub, fetch):
    hub.repositories["team/gated"] = {"main": FILES}
    hub.gated.add("team/gated")
    for uri, words in {
        "hf://team/gated": "is gated: its owner wants you to agree",
        "hf://team/churn:v9": "has no revision v9",
        "hf://team/nothing": "there is no repository team/nothing",
        "hf://churn": "it must be hf://OWNER/MODEL",
    }.items():
        with pytest.raises(StorageError, match=words) as failed:
            fetch(uri)
        assert not failed.value.transient


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub, fetch, monkeypatch):
    right = Hub._bytes

    def spoilt(self, handler, content, sent, headers):
        right(self, handler, b"\0" * len(content), sent, headers)

    monkeypatch.setattr(Hub, "_bytes", spoilt)
    with pytest.raises(StorageError, match=r"its SHA-256 should be .* twice") as failed:
        fetch("hf://team/churn")
    assert failed.value.reason == "Corrupt"
