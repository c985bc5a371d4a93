"""Mistakes on the command line: each is named, with a next step that can be pasted, and nothing of Python's is shown."""

from __future__ import annotations

import pytest

from modelport.cli import by_grpc, home, main
from modelport.local.folder import Folder, Settings


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["down"],
        ["doctor"],
        ["get"],
        ["up"],
        ["keys", "list"],
        ["kubeconfig"],
        ["predict", "iris"],
    ],
    ids=lambda words: words[0],
)
def test_a_file_where_the_folder_should_be_is_told(tmp_path, capsys, words):
    (tmp_path / "file").touch()
    assert main([*words, "--dir", str(tmp_path / "file")]) == 2
    assert f"error: --dir: {tmp_path}/file is a file" in capsys.readouterr().err


def test_the_next_step_can_be_pasted_whatever_the_folder_is_called(tmp_path, capsys):
    """`modelport up --detach --dir /home/me/my models` would make a platform in /home/me/my."""
    assert main(["status", "--dir", str(tmp_path / "my models")]) == 2
    assert f"modelport up --detach --dir '{tmp_path}/my models'" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["-1", "nan", "inf", "soon"])
@pytest.mark.parametrize(
    "words", [["wait", "isvc/iris"], ["deploy", "x.joblib"], ["rollout", "status", "iris"]]
)
def test_a_wait_has_an_end(capsys, words, given):
    """`not Ready after nan s` came at once, of a service that was about to be."""
    with pytest.raises(SystemExit):
        main([*words, f"--timeout={given}"])
    assert f"must be seconds, 0 or more, got {given!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["deploy", ""],
        ["serve", ""],
        ["bench", ""],
        ["storage", "list", "--cache", ""],
        ["storage", "prune", "--cache="],
        ["fetch", "file:///tmp", "--to", ""],
    ],
    ids=" ".join,
)
def test_an_unset_variable_is_not_the_working_folder(capsys, monkeypatch, tmp_path, words):
    """It would be served, or filled with a cache's folders."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(words)
    assert "name is empty. Is the variable set that stands for it?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_prune_below_nothing_drops_nothing(capsys, tmp_path):
    """`--keep -5` dropped every model."""
    assert main(["storage", "prune", "--cache", str(tmp_path / "cache"), "--keep=-5"]) == 2
    assert "--keep: must be 0 or more, got -5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "metadata: &a {name: x, more: *a}",
        "kind: X\nmetadata: {name: x}\nspec: &s [[*s]]",
    ],
)
def test_yaml_without_an_end_is_told(capsys, tmp_path, text):
    (tmp_path / "deep.yaml").write_text(text)
    assert main(["plan", "-f", str(tmp_path / "deep.yaml")]) == 2
    assert "is nested too deeply, or holds an alias (*name) of itself" in capsys.readouterr().err


def test_a_key_that_cannot_travel_is_refused_and_never_shown(tmp_path, capsys, monkeypatch):
    """A key from a file with a line's end was a traceback that showed it."""
    monkeypatch.setenv("MODELPORT_KEY", "mp_secret\r")
    assert main(["predict", "iris", "--dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "error: --key: holds characters that no key has" in said
    assert "mp_secret" not in said


@pytest.mark.parametrize("body", [{"inputs": 5}, {"inputs": [5]}, {"instances": ["ab"]}, {"instances": 3}])
def test_a_body_that_does_not_fit_is_told_in_words_of_bodies(body):
    two = {"inputs": [{"name": "a", "datatype": "FP64"}, {"name": "b", "datatype": "FP64"}]}
    with pytest.raises(home.Mistake, match="inputs must be objects, and rows have a value for each input"):
        by_grpc.tensors(body, lambda: two)


def test_addresses_of_ipv6_are_written_as_urls_have_them(tmp_path, capsys):
    folder = Folder(tmp_path)
    folder.make()
    folder.keep(Settings(gateway_port=8085, api_port=8086, pod_network="127.99", host="::1"))
    main(["status", "--dir", str(tmp_path), "-o", "json"])
    assert '"gateway": "[::1]:8085"' in capsys.readouterr().out


def test_a_host_that_is_nowhere_is_not_a_matter_of_ports(tmp_path, capsys):
    assert main(["up", "--detach", "--dir", str(tmp_path), "--host", "no..host", "--insecure"]) == 2
    assert "error: --host: no..host is no address of this machine" in capsys.readouterr().err
