"""States are coloured for people, on a terminal; never for programs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from modelport.cli import colour


@pytest.mark.parametrize(
    ("word", "tone"),
    [
        ("True", "good"),
        ("Running", "good"),
        ("1/1", "good"),
        ("0/1", "look"),
        ("Unknown", "look"),
        ("Init:0/1", "look"),
        ("Init:CrashLoopBackOff", "bad"),
        ("CrashLoopBackOff", "bad"),
        ("ErrImageNotKnown", "bad"),
        ("CreateContainerConfigError", "bad"),
        ("False  ", "bad"),
        ("iris", ""),
        ("", ""),
    ],
)
def test_what_states_mean(word: str, tone: str) -> None:
    assert colour.tone(word) == tone


def test_a_condition_that_should_be_false_is_not_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert colour.condition("Stopped", "False   ") == "False   "
    assert colour.condition("FieldsIgnored", "True") == "\x1b[33mTrue\x1b[0m"
    assert colour.condition("Ready", "False   ") == "\x1b[31mFalse\x1b[0m   "


def _said(folder: Path, *, terminal: bool, **more: str) -> bytes:
    """What doctor writes to a terminal, or to a pipe."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE")
    }
    environment |= {"MODELPORT_DIR": str(folder), "TERM": "xterm"} | more
    command = [sys.executable, "-m", "modelport", "doctor"]
    if not terminal:
        return subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False).stdout
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way to say that nobody writes there any more
                break
            if not part:
                break
            said += part
        process.wait(timeout=120)
        return said
    finally:
        os.close(ours)


def test_only_a_terminal_gets_colours_and_the_user_may_take_them_away(tmp_path: Path) -> None:
    green = b"\x1b[32mok\x1b[0m"
    assert green in _said(tmp_path, terminal=True)
    assert green in _said(tmp_path, terminal=False, CLICOLOR_FORCE="1")
    for said in (
        _said(tmp_path, terminal=False),
        _said(tmp_path, terminal=True, NO_COLOR="1"),
        _said(tmp_path, terminal=True, CLICOLOR="0"),
        _said(tmp_path, terminal=True, TERM="dumb"),
    ):
        assert b"Python" in said
        assert b"\x1b" not in said
