"""The tutorial, typed in: its code runs, and its commands print what it says they print."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from served import PATIENCE_S, running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "first-model.md"


class Step(NamedTuple):
    """A command, and what the page says it prints; "…" stands for anything."""

    command: str
    prints: str


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def steps() -> Iterator[Step]:
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            length = next(end for end in range(1, len(lines) + 1) if _is_whole("\n".join(lines[:end])))
            yield Step("\n".join(lines[:length]), "\n".join(lines[length:]).strip())


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def agrees(said: str, expected: str) -> bool:
    """Whether it printed that, but for times, ports, what the page leaves out, and floats' last digits."""
    lines = [re.escape(line.strip()).replace("…", ".*") for line in expected.splitlines() if line.strip()]
    pattern = re.sub(r"(\d\\\.\d{10})\d+", r"\1\\d*", r"\s*".join(lines))
    return re.search(re.sub(r"\d+\\\.\d\\ s\b", r"[\\d.]+ s", pattern), said, re.DOTALL) is not None


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial asks with curl")
def test_tutorial(tmp_path):
    fit, client = blocks("python")
    subprocess.run([sys.executable, "-c", fit], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    serve, *asked = steps()
    assert len(asked) > 5

    command = ["-m", *shlex.split(serve.command), "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=tmp_path / "stderr", folder=tmp_path) as server:
        ports = {":8080": server.rest.rpartition("http://127.0.0.1")[2], ":8081": server.grpc[9:]}

        def here(text: str) -> str:
            return re.sub(r":808[01]", lambda found: ports[found[0]], text)

        assert agrees(server.said, here(serve.prints)), server.said
        for command_line, prints in asked:
            if "metrics" in command_line and importlib.util.find_spec("tritonclient"):
                told = subprocess.run(
                    [sys.executable, "-c", here(client)],
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_S,
                    check=True,
                )
                assert told.stdout.strip() == "[b'class_0' b'class_1']"
            elif "metrics" in command_line:
                prints = prints.replace('protocol="v2",code="200"} 2', 'protocol="v2",code="200"} 1')
            done = subprocess.run(
                ["bash", "-c", here(command_line)],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=True,
            )
            assert agrees(done.stdout, prints), f"$ {command_line}\n{done.stdout}\nexpected:\n{prints}"
