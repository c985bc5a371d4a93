"""What the supervisor says of its programs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modelport.local import supervisor
from modelport.local.folder import Folder
from modelport.local.process import Process


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit(3)", "has ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9 (Killed)"),
    ],
)
def test_how_a_program_ended_is_said(tmp_path, code, words):
    """`has ended` alone leaves open whether somebody killed it, or it crashes at every start."""
    folder = Folder(tmp_path)
    folder.make()
    # Its children are reaped by the supervisor: this one has children of its own alone.
    script = f"""
import subprocess, sys
from pathlib import Path
from modelport.local import supervisor
from modelport.local.folder import Folder
from modelport.local.process import Process
folder = Folder(Path({str(tmp_path)!r}))
child = subprocess.Popen([sys.executable, "-c", "input(); " + {code!r}], stdin=subprocess.PIPE)
found = Process.of(child.pid)
child.stdin.write(b"\\n")
child.stdin.close()
while found.alive:
    pass
supervisor.reap(folder)
print(supervisor._how(folder, found))
print(list(folder.exits.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [words, "[]"]


def test_of_a_program_that_was_nobodys_child_nothing_is_known(tmp_path):
    folder = Folder(tmp_path)
    folder.make()
    assert supervisor._how(folder, Process(1, 1)) == "has ended"


def test_what_could_not_be_written_down_is_stopped_all_the_same(tmp_path):
    """On a full disk a gateway would go on alone, hold its port, and be found by nobody."""
    folder = Folder(tmp_path)
    folder.make()
    with subprocess.Popen(["sleep", "600"]) as child:
        found = Process.of(child.pid)
        assert found is not None
        supervisor.stop(folder, {"gateway": found})
        assert not found.alive
