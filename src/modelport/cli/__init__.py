"""What people type: a file a command. Data on stdout, everything else on stderr.

It composes all other rooms and may import them all; heavy ones inside the command that needs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]
    Group = argparse._ArgumentGroup  # pyright: ignore[reportPrivateUsage]


class Mistake(Exception):
    """A user's mistake: told in a sentence with a hint, without a traceback; exit code 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(message, f"{self.prog} --help lists what it takes")
        raise SystemExit(2)


def _complain(message: str, hint: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"\nhint: {hint}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from modelport.cli import (
        apply,
        bench,
        delete,
        deploy,
        describe,
        doctor,
        down,
        events,
        gateway,
        get,
        kubeconfig,
        logs,
        predict,
        rollout,
        serve,
        status,
        up,
        wait,
    )

    root = _Parser(prog="modelport", description="Serve machine-learning models behind KServe's protocols.")
    root.add_argument("--version", action="version", version=f"modelport {version('modelport')}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for command in (
        serve,
        bench,
        up,
        down,
        status,
        kubeconfig,
        deploy,
        apply,
        get,
        describe,
        delete,
        logs,
        events,
        wait,
        predict,
        rollout,
        doctor,
        gateway,
    ):
        command.register(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    root = parser()
    options = root.parse_args(arguments)
    if not hasattr(options, "command"):
        root.print_help()
        return 0
    command = cast("Callable[[argparse.Namespace], int]", options.command)
    try:
        return command(options)
    except Mistake as mistake:
        _complain(str(mistake), mistake.hint)
        return 2
    except KeyboardInterrupt:
        return 130
