"""What people type for objects."""

from __future__ import annotations

import pytest

from modelport.cli import Mistake, main, naming


@pytest.mark.parametrize(
    "words", [["isvc", ""], ["isvc", "a", ""], ["isvc/"], ["isvc/a", "pod/"], ["isvc/a", ""]]
)
def test_an_empty_name_names_nothing(words):
    """`modelport delete isvc "$NAME"` with a variable that is not set: it must not mean all."""
    with pytest.raises(Mistake):
        naming.targets(words)


@pytest.mark.parametrize(
    "command",
    ["delete isvc", "get isvc", "describe", "logs", "predict", "explain", "rollout undo", "rollout history"],
)
def test_commands_refuse_an_empty_name(command, tmp_path, capsys):
    try:
        code = main([*command.split(), "", "--dir", str(tmp_path)])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert "is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "word",
    [
        "isvc",
        "InferenceService",
        "inferenceservices.serving.kserve.io",
        "inferenceservices.v1beta1.serving.kserve.io",
    ],
)
def test_a_kind_is_called_as_kubectl_calls_it(word):
    """Scripts that are moved from a cluster name kinds in full."""
    assert [resource.plural for resource in naming.find(word)] == ["inferenceservices"]


@pytest.mark.parametrize("what", ["", "isvc", "iris"])
def test_events_of_one_object_take_its_kind(what, tmp_path, capsys):
    assert main(["events", what, "--dir", str(tmp_path)]) == 2
    assert "must be KIND/NAME" in capsys.readouterr().err


def test_an_empty_folder_is_not_this_folder(tmp_path, monkeypatch, capsys):
    """`modelport up --dir "$DIR"` with a variable that is not set filled whatever folder one was in with a platform."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["up", "--detach", "--dir", ""])
    assert "the folder's name is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
