"""Files that people give to `apply`: every object is found, every mistake names the file."""

from __future__ import annotations

import io

import pytest

from modelport.cli import Mistake, documents

ONE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def test_documents_lists_and_folders_are_taken_apart(tmp_path):
    (tmp_path / "a.yaml").write_text(f"{ONE}---\n---\n{ONE.replace('a}', 'b}')}")
    (tmp_path / "b.json").write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"kind": "X", "metadata": {"name": "c"}}]}'
    )
    (tmp_path / "notes.txt").write_text("not for us")
    assert [item["metadata"]["name"] for item in documents.read([str(tmp_path)])] == ["a", "b", "c"]


def test_dates_stay_text(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(ONE + "data: {day: 2024-01-02}\n")
    assert documents.read([str(file)])[0]["data"] == {"day": "2024-01-02"}


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(ONE))
    assert documents.read(["-"])[0]["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "no YAML"),
        ("- 1", "document 1 is no object but list"),
        ("kind: Pod", "document 1 (Pod) has no metadata"),
        (ONE + "---\n7", "document 2 is no object but int"),
    ],
)
def test_mistakes_name_the_file_and_the_document(tmp_path, text, words):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(Mistake) as told:
        documents.read([str(file)])
    assert str(file) in str(told.value)
    assert words in str(told.value)


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(Mistake, match="No such file"):
        documents.read([str(tmp_path / "none.yaml")])
    with pytest.raises(Mistake, match=r"no \.yaml"):
        documents.read([str(tmp_path)])


def test_dump_reads_back(tmp_path):
    item = {
        "apiVersion": "v1",
        "kind": "X",
        "metadata": {"name": "é"},
        "data": {"day": "2024-01-02", "n": "1"},
    }
    file = tmp_path / "a.yaml"
    file.write_text(documents.dump(item))
    assert documents.read([str(file)]) == [item]


def test_no_file_is_not_this_folder(tmp_path, monkeypatch):
    """`delete -f "$FILE"` with a variable that is not set must not delete what all files here name."""
    (tmp_path / "a.yaml").write_text(ONE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match="-f: the name of the file is empty"):
        documents.read([""])


def test_a_model_given_for_yaml_is_told_where_it_goes(tmp_path):
    file = tmp_path / "model.joblib"
    file.write_bytes(b"\x80\x04")
    with pytest.raises(Mistake, match="this is no text") as caught:
        documents.read([str(file)])
    assert caught.value.hint == f"where it is a model: modelport deploy {file}"


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ("{}", "has no metadata.name"),
        ("{name: ''}", "has no metadata.name"),
        ("{generateName: a-}", "has no metadata.name"),
        ("{name: 007}", "metadata.name must be text, got int"),
        ("{name: a, namespace: 1e3}", None),
        ("{name: a, namespace: 5}", "metadata.namespace must be text, got int"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_name_that_is_none_is_told_with_its_document(tmp_path, meta, words, listed):
    """`delete -f` ended in a traceback; an empty name would have been the address of all objects."""
    file = tmp_path / "a.yaml"
    one = f"{{apiVersion: v1, kind: ConfigMap, metadata: {meta}}}"
    file.write_text(f"kind: List\nitems: [{one}]" if listed else one)
    if words is None:
        assert len(documents.read([str(file)])) == 1
        return
    with pytest.raises(Mistake, match=words):
        documents.read([str(file)])
