"""What people type: a file a command. Data on stdout, everything else on stderr.

It composes all other rooms and may import them all; heavy ones inside the command that needs them.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO, cast

import modelport

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]
    Group = argparse._ArgumentGroup  # pyright: ignore[reportPrivateUsage]


class Mistake(Exception):
    """A user's mistake: told in a sentence with a hint, without a traceback; exit code 2. With `code` 1, a refusal:
    what was asked for did not come about."""

    def __init__(self, message: str, hint: str = "", code: int = 2) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(message, f"{self.prog} --help lists what it takes")
        raise SystemExit(2)


class _Version(argparse.Action):
    """`--version`: the package's metadata is read for it alone."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show program's version number and exit")

    def __call__(self, *_: object) -> NoReturn:
        print(f"modelport {modelport.__version__}")
        raise SystemExit(0)


def _complain(message: str, hint: str) -> None:
    from modelport.cli import colour

    print(f"{colour.paint('error', 'bad', sys.stderr)}: {message}", file=sys.stderr)
    if hint:
        print(f"\nhint: {hint}", file=sys.stderr)


COMMANDS = (
    "serve",
    "bench",
    "up",
    "down",
    "status",
    "kubeconfig",
    "deploy",
    "apply",
    "get",
    "describe",
    "delete",
    "logs",
    "events",
    "wait",
    "predict",
    "rollout",
    "keys",
    "plan",
    "fetch",
    "storage",
    "backup",
    "restore",
    "doctor",
    "gateway",
)
"""Modules of commands, in the order of the help. `predict` is `explain` too."""
BEGIN = """\
begin here:
  modelport serve ./model.joblib       one model, in this terminal
  modelport up --detach                or the platform, in the background:
  modelport deploy ./model.joblib        a model onto it
  modelport predict model                its first answer
  modelport describe model               what is wrong with it, if anything
"""


WHAT_THEN = {
    errno.ENOSPC: "free some space on that disk, or choose another folder",
    errno.EDQUOT: "free some space there, or choose another folder",
    errno.EACCES: "chmod or chown it, or run this as a user who may",
}
"""What the machine may refuse to any command, and the next step."""


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, or as much of it as one command needs."""
    root = _Parser(
        prog="modelport",
        description="Serve machine-learning models behind KServe's protocols.",
        epilog=BEGIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action=_Version)
    commands = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    name = "predict" if only == "explain" else only
    for module in (name,) if name in COMMANDS else COMMANDS:
        importlib.import_module(f"modelport.cli.{module}").register(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(given)
    except Mistake as mistake:
        _complain(str(mistake), mistake.hint)
        return mistake.code
    except KeyboardInterrupt:
        warnings.simplefilter("ignore")  # of what was interrupted before it began
        return 130
    except BrokenPipeError:
        hush()
        return 141
    except OSError as error:
        hint = WHAT_THEN.get(error.errno or 0)
        if hint is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror}", hint)
        return 1


def _run(given: list[str]) -> int:
    root = parser(given[0] if given else None)
    options, unknown = root.parse_known_args(given)
    if unknown:
        of = f"modelport {given[0]}" if hasattr(options, "command") else "modelport"
        _complain(f"unrecognized arguments: {' '.join(unknown)}", f"{of} --help lists what it takes")
        raise SystemExit(2)
    if not hasattr(options, "command"):
        root.print_help()
        return 0
    code = cast("Callable[[argparse.Namespace], int]", options.command)(options)
    if (out := cast("TextIO | None", sys.stdout)) is not None:  # as after `>&-`
        out.flush()
    return code


def hush() -> None:
    """Whoever read our output has seen enough, as in `| head`: what is left to say goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
