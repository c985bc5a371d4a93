"""Environments that models ask for, built by the real installers from packages on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import wheels

from modelport.local.folder import Folder
from modelport.local.node import environments, requirements
from modelport.local.node.environments import EnvironmentFailed, Environments
from modelport.local.process import read

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path):
    found = Folder(tmp_path / "platform")
    found.make()
    return found


@pytest.fixture
def want(tmp_path):
    """Makes a model that wants something of the shelf."""
    lines = wheels.shelf(tmp_path / "shelf")

    def make(line: str) -> requirements.Wanted:
        place = tmp_path / f"model-{abs(hash(line))}"
        place.mkdir(exist_ok=True)
        (place / "requirements.txt").write_text(lines + line)
        found = requirements.find(place, f"file://{place}")
        assert found is not None
        return found

    return make


@pytest.fixture(params=["uv", "pip"])
def installer(request, monkeypatch):
    if request.param == "pip":
        monkeypatch.setattr(environments, "_uv", lambda: None)
    return request.param


def flavour(python: str) -> str:
    """What a program in an environment gets, with our package beside it."""
    code = "import flavour, modelport.wire.fork, msgspec; print(flavour.version)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def left(folder: Folder) -> list[str]:
    return sorted(path.name for path in folder.environments.iterdir() if path.name != "overlay")


def test_two_models_with_packages_that_conflict_live_side_by_side(folder, want):
    async def build():
        known = Environments(folder.environments)
        said: list[str] = []
        return [
            await known.provide(want(f"flavour=={version}"), said.append) for version in ("1.0", "2.0")
        ], said

    (old, new), said = asyncio.run(build())
    assert (flavour(old), flavour(new)) == ("1.0", "2.0")
    assert said, "progress is told"


def test_many_that_ask_for_the_same_get_one_environment(folder, want):
    async def build():
        known = Environments(folder.environments)
        said: list[list[str]] = [[] for _ in range(5)]
        found = await asyncio.gather(*(known.provide(want("flavour==1.0"), one.append) for one in said))
        again = await known.provide(want("# the same\nflavour==1.0"), lambda line: pytest.fail(line))
        return {*found, again}, said

    found, said = asyncio.run(build())
    assert len(found) == 1
    assert all(said)
    assert len(left(folder)) == 2, "a name, and what it names"


@pytest.mark.parametrize("line", ["flavour==99.1", "no-such-package"])
def test_a_package_that_cannot_be_had_is_named_and_leaves_nothing(folder, want, line):
    async def build():
        known = Environments(folder.environments)
        one = want(line)
        with pytest.raises(EnvironmentFailed) as failed:
            await known.provide(one, lambda _: None)
        assert known.refusal(one) == str(failed.value), "it is not tried again at once"
        with pytest.raises(EnvironmentFailed):
            await known.provide(one, lambda line: pytest.fail(f"tried again: {line}"))
        return str(failed.value)

    words = asyncio.run(build())
    assert line.partition("=")[0] in words
    assert words.startswith("requirements.txt of file://")
    assert left(folder) == []


def test_a_build_that_nobody_waits_for_any_more_ends(folder, want, tmp_path):
    """The pod was deleted: its download must not go on for an hour."""

    async def build():
        known = Environments(folder.environments)
        asked = asyncio.create_task(known.provide(want(f"{slow(tmp_path)}"), lambda _: None))
        builder = await begun(folder)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: not builder.alive)
        await until(lambda: left(folder) == [])

    asyncio.run(build())


def test_what_a_killed_builder_left_is_swept_away_and_built_anew(folder, want, tmp_path):
    """`kill -9` of the node in the midst of a build."""
    text = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from modelport.local.node import requirements\n"
        "from modelport.local.node.environments import Environments\n"
        "wanted = requirements.find(Path(sys.argv[1]), 'file:///m')\n"
        "asyncio.run(Environments(Path(sys.argv[2])).provide(wanted, lambda _: None))\n"
    )
    one = want(slow(tmp_path))
    node = subprocess.Popen([sys.executable, "-c", text, str(one.folder), str(folder.environments)])

    async def after():
        builder = await begun(folder)
        node.send_signal(signal.SIGKILL)
        node.wait()
        assert builder.alive, "else this tests nothing"
        python = await Environments(folder.environments).provide(want("flavour==2.0"), lambda _: None)
        await until(lambda: not builder.alive)
        assert flavour(python) == "2.0"
        assert len(left(folder)) == 2

    try:
        asyncio.run(after())
    finally:
        node.kill()
        node.wait()


def test_only_what_no_pod_runs_by_is_pruned(folder, want):
    async def build():
        known = Environments(folder.environments)
        return [
            await known.provide(want(f"flavour=={version}"), lambda _: None) for version in ("1.0", "2.0")
        ]

    used, unused = asyncio.run(build())
    pod = folder.pods / "default_p_u"
    pod.mkdir()
    kept = {"namespace": "default", "name": "p", "uid": "u", "ip": "", "started_at": "", "containers": {}}
    (pod / "state.json").write_text(json.dumps(kept | {"pythons": {"c": used}}))
    assert environments.prune(folder, now=NOW) == 0, "both were asked for a moment ago"
    assert environments.prune(folder, now=NOW + timedelta(days=8)) == 1
    assert os.access(used, os.X_OK)
    assert not os.access(unused, os.X_OK)
    assert len(left(folder)) == 2


def test_what_the_file_names_lies_beside_it(folder, want, installer):
    one = want("-r more.txt")
    (one.folder / "more.txt").write_text("flavour==1.0\n")
    wheels.make(one.folder, "spice", "3.0")
    (one.folder / "requirements.txt").write_text("\n".join([*one.lines, "./spice-3.0-py3-none-any.whl"]))
    again = requirements.find(one.folder, "file:///m")
    assert again is not None
    python = asyncio.run(Environments(folder.environments).provide(again, lambda _: None))
    done = subprocess.run(
        [python, "-c", "import flavour, spice; print(flavour.version, spice.version)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1.0 3.0\n"


def test_uv_and_pip_say_why_in_one_sentence():
    uv = ["error: No solution found", "  ╰─▶ Because there is no version of x==9, it cannot be used."]
    assert (
        environments.failure(uv)
        == "No solution found Because there is no version of x==9, it cannot be used."
    )
    pip = ["Looking in links: /x", "ERROR: No matching distribution found for x==9"]
    assert environments.failure(pip) == "No matching distribution found for x==9."
    assert environments.failure([]) == "it did not say why."


def slow(tmp_path) -> str:
    """A package whose building never ends, as a big one's seems to."""
    source = tmp_path / "slow"
    source.mkdir(exist_ok=True)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n'
    )
    (source / "slow.py").write_text("import time\nwhile True: time.sleep(1)\n")
    return str(source)


async def begun(folder: Folder):
    """The process that builds, once it installs."""
    found = None

    def look() -> bool:
        nonlocal found
        for path in folder.environments.glob("*.builder"):
            found = read(path)
        with contextlib.suppress(OSError):
            return found is not None and b"install" in Path(f"/proc/{found.pid}/cmdline").read_bytes()
        return False

    await until(look)
    return found


async def until(condition, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.02)


def test_the_package_that_is_missing_is_not_hidden_by_those_that_are_too_new():
    """pip lists every version of every package that this Python is too old or too new for, before it says what failed."""
    said = [
        "ERROR: Ignored the following versions that require a different python version: 1.21.2 Requires-Python >=3.7",
        "ERROR: Could not find a version that satisfies the requirement nosuch==9 (from versions: none)",
        "ERROR: No matching distribution found for nosuch==9",
    ]
    words = environments.failure(said)
    assert words.startswith("Could not find a version that satisfies the requirement nosuch==9")
