"""What scripts rely on: exit codes, and pipes that end early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelport.cli
from modelport.cli import Mistake, main


def test_a_refusal_is_1_and_a_mistake_is_2(monkeypatch, capsys):
    """A script that deploys must be able to tell `not there` from `not understood`."""

    def answers(error):
        def register(commands):
            one = commands.add_parser("down")

            def run(options):
                raise error

            one.set_defaults(command=run)

        return type("Module", (), {"register": staticmethod(register)})

    for error, code in ((Mistake("no", "so"), 2), (Mistake("gone", code=1), 1)):
        monkeypatch.setattr(modelport.cli.importlib, "import_module", lambda name, e=error: answers(e))
        assert main(["down"]) == code
    assert "error: no\n\nhint: so\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["serve", "m.joblib", "--nonsense=1"],
            "unrecognized arguments: --nonsense=1\n\nhint: modelport serve --help",
        ),
        (["bench", "m.joblib", "more"], "unrecognized arguments: more\n\nhint: modelport bench --help"),
        (["--nonsense"], "unrecognized arguments: --nonsense\n\nhint: modelport --help"),
        (
            ["serve", "--http-port=0", "--grpc-port=0"],
            "no model given, and there is no /mnt/nowhere\n\nhint: modelport serve ./model.joblib",
        ),
        (
            ["serve", "m.joblib", "--http-port=7000", "--grpc-port=7000"],
            "--http-port and --grpc-port are both 7000\n\nhint: --one-port",
        ),
    ],
)
def test_a_mistake_is_told_with_the_next_step(given, words, capsys, monkeypatch):
    """Whoever follows the hint must find the flag there, and not be told that our own port is somebody else's."""
    monkeypatch.setattr(
        "modelport.cli.serve.KSERVE_FOLDER", Path("/mnt/nowhere")
    )  # platforms leave an empty one
    try:
        code = main(given)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert words in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_fault():
    """`modelport … | head -1` must not end in a traceback, though what is left is written at the very end only."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "modelport", "doctor"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(write)
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == 141


def test_who_interrupts_a_command_sees_no_stack_of_ours(monkeypatch, capsys):
    """Ctrl-C in the first half second, while a command is imported, printed forty lines."""

    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(modelport.cli.importlib, "import_module", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_stdout_is_nobody_who_reads(tmp_path):
    """As of a daemon's children and cron's; the command does what it does."""
    words = [sys.executable, "-m", "modelport", "plan", "-f", str(tmp_path / "one.yaml")]
    (tmp_path / "one.yaml").write_text(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: iris}\n"
        "spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: 'file:///tmp'}}}\n"
    )
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *words]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr
