"""What a model's files say that it needs."""

from __future__ import annotations

import importlib.metadata

import pytest

from modelport.local.node import requirements
from modelport.local.node.interpreter import trusted

CONDA = """
dependencies:
- python=3.11.9
- pip<=24
- pip:
  - mlflow==2.9
  - scikit-learn==1.3.2
"""


def wanted(folder, text: str, name: str = "requirements.txt") -> requirements.Wanted:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    found = requirements.find(folder, "file:///m")
    assert found is not None
    return found


def test_comments_do_not_make_another_environment_and_versions_do(tmp_path):
    plain = wanted(tmp_path / "a", "scikit-learn==1.3\njoblib\n")
    told = wanted(tmp_path / "b", "# for churn\nscikit-learn==1.3   # old\n\njoblib")
    other = wanted(tmp_path / "c", "scikit-learn==1.4\njoblib\n")
    assert plain.key == told.key
    assert plain.key != other.key


@pytest.mark.parametrize(("name", "line"), [("more.txt", "-r more.txt"), ("own.whl", "./own.whl")])
def test_what_a_named_file_holds_makes_another_environment(tmp_path, name, line):
    (tmp_path / name).write_text("scikit-learn==1.3")
    before = wanted(tmp_path, line).key
    (tmp_path / name).write_text("scikit-learn==1.4")
    assert wanted(tmp_path, line).key != before


def test_files_that_name_each_other_end(tmp_path):
    (tmp_path / "more.txt").write_text("-r requirements.txt\n-r more.txt\n")
    assert wanted(tmp_path, "-r more.txt").key


def test_the_pip_part_of_mlflows_conda_file_counts_where_there_is_no_other(tmp_path):
    assert wanted(tmp_path, CONDA, "conda.yaml").lines == ("mlflow==2.9", "scikit-learn==1.3.2")
    found = wanted(tmp_path, "joblib")
    assert found.lines == ("joblib",)
    assert found.source == "requirements.txt of file:///m"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "dependencies: [python=3.11]", "dependencies: {a: 1}", "just words"]
)
def test_a_file_that_asks_for_nothing_needs_no_environment(tmp_path, text):
    name = "conda.yaml" if text and "#" not in text else "requirements.txt"
    (tmp_path / name).write_text(text)
    assert requirements.find(tmp_path, "file:///m") is None


def test_a_conda_file_that_is_no_yaml_is_told(tmp_path):
    (tmp_path / "conda.yaml").write_text("dependencies: [")
    with pytest.raises(ValueError, match=r"conda\.yaml is no YAML"):
        requirements.find(tmp_path, "file:///m")


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "requirements.txt").write_bytes(b"scikit\xff")
    with pytest.raises(
        ValueError, match=r"requirements\.txt is no text in UTF-8: invalid start byte at byte 6"
    ):
        requirements.find(tmp_path, "file:///m")


@pytest.mark.parametrize(
    ("line", "enough"),
    [
        ("msgspec", True),
        ("msgspec=={here}", True),
        ("msgspec>=0.1; python_version >= '3'", True),
        ("no-such-package; python_version < '3'", True),
        ("msgspec==0.0.1", False),
        ("no-such-package-at-all", False),
        ("-r more.txt", False),
        ("./own.whl", False),
        ("msgspec @ https://example.com/msgspec.whl", False),
        ("msgspec[yaml]", False),
    ],
)
def test_a_model_that_agrees_with_this_installation_shares_it(tmp_path, line, enough):
    here = importlib.metadata.version("msgspec")
    assert requirements.satisfied(wanted(tmp_path, line.format(here=here))) is enough


@pytest.mark.parametrize(
    ("uri", "setting", "may"),
    [
        ("file:///models/churn", None, True),
        ("pvc://claim/churn", None, True),
        ("hf://someone/model", None, False),
        ("s3://models/churn", "s3://models/", True),
        ("s3://models-of-others/churn", "s3://models", False),
        ("hf://someone/model", "s3://models/ *", True),
        ("file:///models/churn", "none", False),
    ],
)
def test_only_trusted_sources_have_packages_installed(uri, setting, may):
    assert trusted(uri, setting) is may
