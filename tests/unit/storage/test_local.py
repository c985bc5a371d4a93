"""Models that are on this machine already."""

from __future__ import annotations

import tarfile

import pytest

from modelport.storage import Patterns, StorageError
from modelport.storage.look import look


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models" / "churn"
    folder.mkdir(parents=True)
    (folder / "model.joblib").write_bytes(b"weights")
    (folder / "notes.txt").write_bytes(b"notes")
    return folder


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_local_model_is_used_where_it_lies(fetch, model, form):
    fetched = fetch(form.format(model))
    assert (fetched.path, fetched.bytes, fetched.from_cache) == (model, 12, True)


def test_a_change_in_place_changes_the_digest(fetch, model):
    before = fetch(model).digest
    (model / "model.joblib").write_bytes(b"other")
    assert fetch(model).digest != before


def test_an_encoded_path_is_understood(fetch, tmp_path):
    (tmp_path / "a model").mkdir()
    (tmp_path / "a model" / "m.onnx").write_bytes(b"x")
    assert fetch(f"file://{tmp_path}/a%20model").path == tmp_path / "a model"


def test_a_local_archive_is_unpacked_in_the_cache(fetch, model, tmp_path, contents):
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        archive.add(model / "model.joblib", "model.joblib")
    fetched = fetch(f"file://{tmp_path}/m.tar.gz")
    assert contents(fetched.path) == {"model.joblib": b"weights"}
    assert fetch(f"file://{tmp_path}/m.tar.gz").from_cache


def test_patterns_choose_among_local_files(fetch, model, contents):
    assert contents(fetch(model, patterns=Patterns(ignore=("*.txt",))).path) == {"model.joblib": b"weights"}


def test_a_missing_path_says_what_of_it_exists(fetch, model):
    with pytest.raises(StorageError, match=f"no such folder or file.*{model} is the part of it"):
        fetch(model / "v3")


def test_an_empty_folder_is_no_model(fetch, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="is empty"):
        fetch(tmp_path / "empty")


def test_a_claims_folder_comes_from_the_caller(fetch, model):
    fetched = fetch("pvc://models/churn", claims=lambda name: {"models": model.parent}[name])
    assert fetched.path == model


def test_an_unknown_claim_is_told_in_the_callers_words(fetch):
    def claims(name):
        raise LookupError(f"default has no claim {name}")

    with pytest.raises(StorageError, match="default has no claim models"):
        fetch("pvc://models/churn", claims=claims)


def test_a_claims_path_cannot_lead_out_of_it(fetch, model):
    with pytest.raises(StorageError):
        fetch("pvc://models/../../etc", claims=lambda name: model)
    (model / "out").symlink_to("/etc")
    with pytest.raises(StorageError, match="leads out of the claim"):
        fetch("pvc://models/out", claims=lambda name: model)


def test_an_unknown_scheme_names_the_known_ones(fetch):
    with pytest.raises(StorageError, match=r"no scheme ftp://. Schemes: file://, .*s3://"):
        fetch("ftp://host/model")


def test_a_look_at_a_folder_names_its_files_with_their_sizes(tmp_path):
    """Lost otherwise: `storage check` says of a model on this machine that it holds nothing."""
    (tmp_path / "model.joblib").write_bytes(b"12345")
    assert look(str(tmp_path)).files == (("model.joblib", 5),)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "notes.txt").write_bytes(b"1234567")
    found = look(str(tmp_path))
    assert (dict(found.files), found.bytes) == ({"model.joblib": 5, "deep/notes.txt": 7}, 12)
    assert look(str(tmp_path / "model.joblib")).files == (("model.joblib", 5),)
