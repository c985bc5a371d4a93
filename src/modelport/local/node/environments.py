"""Python environments that models ask for: built once, shared by all that ask for the same, dropped when nobody does.

An environment is built in a folder that nobody else knows, `KEY-RANDOM`, and gets its name `KEY`, a link, only once
it is whole. What a killed builder leaves has no name and is swept away, its processes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from modelport.local.folder import Folder, write
from modelport.local.node import overlay
from modelport.local.node.record import interpreters
from modelport.local.node.requirements import Wanted
from modelport.local.process import Process, read

log = logging.getLogger(__name__)
Tell = Callable[[str], None]
FIRST_AGAIN_S, LAST_AGAIN_S = 5.0, 300.0
"""A build that failed is tried again after so long: a registry may have been away."""
UNUSED_S = 7 * 24 * 3600.0
"""An environment that no pod has asked for so long is dropped."""
USED = "used"
"""File whose time says when an environment was last asked for."""
WORDS_LINES = 12


class EnvironmentFailed(Exception):
    """An environment cannot be built. The message names the file, says what the installer said, and what to do."""


class _Build:
    def __init__(self) -> None:
        self.listeners: list[Tell] = []
        self.last = ""
        self.task: asyncio.Task[None] | None = None

    def tell(self, line: str) -> None:
        self.last = line
        for listener in self.listeners:
            listener(line)


class Environments:
    """Those of this machine's platform, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._builds: dict[str, _Build] = {}
        self._failed: dict[str, tuple[str, float, float]] = {}
        self._swept = False

    def known(self, wanted: Wanted) -> str | None:
        """The interpreter of an environment that is there."""
        python = self._folder / wanted.key / "bin" / "python"
        if not os.access(python, os.X_OK):
            return None
        overlay.make(self._folder)  # this installation may lie elsewhere than the one that built it
        (self._folder / wanted.key / USED).touch()
        return str(python)

    def refusal(self, wanted: Wanted) -> str | None:
        """Why it could not be built a moment ago; None where it may be tried."""
        message, again, _ = self._failed.get(wanted.key, ("", 0.0, 0.0))
        return message if asyncio.get_running_loop().time() < again else None

    async def provide(self, wanted: Wanted, tell: Tell) -> str:
        """Its interpreter, after building it where need be; `tell` hears what goes on. Raises EnvironmentFailed."""
        python = self.known(wanted)
        if python is not None:
            return python
        build = self._builds.get(wanted.key) or self._begin(wanted)
        build.listeners.append(tell)
        if build.last:
            tell(build.last)
        assert build.task is not None  # noqa: S101
        try:
            await asyncio.shield(build.task)
        finally:
            build.listeners.remove(tell)
            if not build.listeners and not build.task.done():
                build.task.cancel()  # nobody wants it any more
        python = self.known(wanted)
        if python is None:
            raise EnvironmentFailed(
                f"{wanted.source}: the environment was removed while it was taken into use"
            )
        return python

    def _begin(self, wanted: Wanted) -> _Build:
        key = wanted.key
        _, _, pause_s = self._failed.get(key, ("", 0.0, 0.0))
        refused = self.refusal(wanted)
        if refused is not None:
            raise EnvironmentFailed(refused)
        build = self._builds[key] = _Build()
        build.task = asyncio.create_task(self._build(wanted, build.tell), name=f"environment {key}")

        def done(task: asyncio.Task[None]) -> None:
            self._builds.pop(key, None)
            error = None if task.cancelled() else task.exception()
            if error is None:
                self._failed.pop(key, None)
                return
            pause = min(max(pause_s * 2, FIRST_AGAIN_S), LAST_AGAIN_S)
            self._failed[key] = (str(error), asyncio.get_running_loop().time() + pause, pause)

        build.task.add_done_callback(done)
        return build

    async def _build(self, wanted: Wanted, tell: Tell) -> None:
        if not self._swept:
            await asyncio.to_thread(sweep, self._folder)
            self._swept = True
        home = self._folder / f"{wanted.key}-{secrets.token_hex(4)}"
        try:
            home.mkdir(parents=True, mode=0o700)
            file = wanted.file or home / "requirements.txt"
            if wanted.file is None:
                file.write_text("\n".join(wanted.lines) + "\n")
            for words in steps(home, file, hashed=wanted.hashed):
                await self._step(words, home, wanted, tell)
            place = await asyncio.to_thread(overlay.make, self._folder)
            for packages in (home / "lib").glob("python*/site-packages"):
                (packages / "modelport-overlay.pth").write_text(f"{place}\n")
            (home / USED).touch()
            await asyncio.to_thread(os.sync)  # a name must not outlive what it names
            link = self._folder / f".{home.name}"
            link.symlink_to(home.name)
            link.replace(self._folder / wanted.key)
            log.info("%s: environment %s built", wanted.source, wanted.key)
        except OSError as error:
            raise EnvironmentFailed(
                f"{wanted.source}: the environment cannot be built in {self._folder}: {error}"
            ) from error
        finally:
            _builder(home).unlink(missing_ok=True)
            if not _is_named(home):
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, home, ignore_errors=True))

    async def _step(self, words: list[str], home: Path, wanted: Wanted, tell: Tell) -> None:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=wanted.folder,
            env=_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        said: deque[str] = deque(maxlen=WORDS_LINES)
        try:
            builder = Process.of(process.pid)
            if builder is not None:
                write(_builder(home), msgspec.json.encode(builder))
            assert process.stdout is not None  # noqa: S101
            async for raw in process.stdout:
                line = raw.decode(errors="replace").strip()
                if line:
                    said.append(line)
                    tell(line)
            code = await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code != 0:
            raise EnvironmentFailed(
                f"{wanted.source}: its packages cannot be installed: {failure(said)} Correct the file, or see that "
                f"the package index can be reached; it is tried again."
            )


def steps(home: Path, requirements: Path, *, hashed: bool) -> list[list[str]]:
    """The commands that build an environment: by uv, which takes seconds, else by what Python has itself."""
    python = str(home / "bin" / "python")
    # Our server hands models NumPy's arrays; whichever version the model's packages agree with will do.
    extra = [] if hashed else ["numpy"]
    uv = _uv()
    if uv is not None:
        return [
            [*uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(home)],
            [*uv, "pip", "install", "--python", python, "-r", str(requirements), *extra],
        ]
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [
        [sys.executable, "-m", "venv", str(home)],
        [*pip, "install", "--progress-bar", "off", "-r", str(requirements), *extra],
    ]


ASIDE = ("ERROR: Ignored the following versions", "ERROR: Ignored the following yanked versions")
"""What pip says of each package at such an occasion: hundreds of words that hide the one which is missing."""


def failure(said: Iterable[str]) -> str:
    """What an installer said last, as one sentence: uv draws trees, pip marks its errors."""
    lines = [line.strip("│╰─▶├×✗ \t") for line in said if not line.startswith(ASIDE)]
    first = next(
        (i for i, line in enumerate(lines) if line.lower().startswith("error: ")), max(0, len(lines) - 6)
    )
    words = [line.removeprefix("ERROR: ").removeprefix("error: ") for line in lines[first:] if line]
    text = " ".join(words)[-900:].strip() or "it did not say why"
    return text if text.endswith(".") else f"{text}."


def sweep(folder: Path) -> None:
    """Removes what killed builders left, and ends their processes: they may still be writing."""
    for home in folder.glob("*-*"):
        if home.suffix == ".builder" or not home.is_dir() or _is_named(home):
            continue
        builder = read(_builder(home))
        if builder is not None and builder.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(builder.pid, signal.SIGKILL)
        _builder(home).unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)


def prune(folder: Folder, *, now: datetime, unused_s: float = UNUSED_S) -> int:
    """Drops environments that no pod runs by and nobody has asked for so long. How many."""
    kept = {Path(python).parent.parent.name for python in interpreters(folder.pods)}
    dropped = 0
    for link in folder.environments.glob("*"):
        if not link.is_symlink() or link.name in kept or link.name.startswith("."):
            continue
        try:
            since = (link / USED).stat().st_mtime
        except OSError:
            since = 0.0
        if now.timestamp() - since < unused_s:
            continue
        home = folder.environments / link.readlink()
        link.unlink()  # first its name: whoever asks from now on builds another
        shutil.rmtree(home, ignore_errors=True)
        dropped += 1
    return dropped


def _is_named(home: Path) -> bool:
    link = home.with_name(home.name.partition("-")[0])
    return link.is_symlink() and link.readlink() == Path(home.name)


def _builder(home: Path) -> Path:
    return home.with_name(f"{home.name}.builder")


def _uv() -> list[str] | None:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return None if found is None else [found]


def _environment() -> dict[str, str]:
    """The node's own, for it says where packages come from; but not which environment is active."""
    return {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")} | {
        "NO_COLOR": "1"
    }
